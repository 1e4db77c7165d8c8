/** Commands on chosen nodes: begun, followed live, kept in a history and a library. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRouter } from 'vue-router'
import type { Command, Feature } from '@/shared/feature'
import { useResource } from '@/shared/useResource'
import { useCollection } from '@/stores/live'
import { useSession } from '@/stores/session'
import { listSaved } from './api'

const meta = { feature: 'commands' }

export const commands: Feature = {
  name: 'commands',
  nav: { path: '/commands', icon: 'commands', key: 'goCommands', permission: 'exec' },
  routes: [
    { path: '/commands', name: 'commands', meta, component: () => import('./CommandsPage.vue') },
    { path: '/commands/:id', name: 'command-run', meta, component: () => import('./RunPage.vue') },
  ],
  useCommands: () => {
    const { t } = useI18n()
    const router = useRouter()
    const session = useSession()
    const nodes = useCollection('nodes')
    if (!session.may('exec')) return computed(() => [])
    const saved = useResource(listSaved)
    const lead = (id: string, title: string, query: Record<string, string>): Command => ({
      id: `command-${id}`,
      title,
      group: 'actions',
      run: () => router.push({ path: '/commands', query }),
    })
    return computed(() => [
      ...(saved.data.value?.items ?? []).map(({ id, name }) =>
        lead(id, t('commands.runSaved', { name }), { saved: id }),
      ),
      ...[...nodes.byId.value.values()]
        .filter(({ status }) => status === 'online')
        .map(({ id, name }) => lead(id, t('commands.on', { name }), { nodes: id })),
    ])
  },
}
