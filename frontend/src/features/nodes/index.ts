/** Enrolled machines: the table, one node with its live charts, joining another. */
import { computed } from 'vue'
import { useRouter } from 'vue-router'
import type { Command, Feature } from '@/shared/feature'
import { useCollection } from '@/stores/live'

const page = (): Promise<object> => import('./NodesPage.vue')
const meta = { feature: 'nodes' }

export const nodes: Feature = {
  name: 'nodes',
  nav: { path: '/nodes', icon: 'nodes', key: 'goNodes' },
  routes: [
    { path: '/nodes', name: 'nodes', meta, component: page },
    { path: '/nodes/:id', name: 'node', meta, component: page },
  ],
  useCommands: () => {
    const router = useRouter()
    const known = useCollection('nodes')
    return computed<Command[]>(() =>
      [...known.byId.value.values()].map((node) => ({
        id: `node-${node.id}`,
        title: node.name,
        group: 'nodes',
        run: () => router.push(`/nodes/${node.id}`),
      })),
    )
  },
}
