/** Commands on chosen nodes: begun, followed live, kept in a history and a library. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRouter } from 'vue-router'
import type { Feature } from '@/shared/feature'
import { useCollection } from '@/stores/live'
import { useSession } from '@/stores/session'

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
    return computed(() =>
      [...(session.may('exec') ? nodes.byId.value.values() : [])]
        .filter(({ status }) => status === 'online')
        .map(({ id, name }) => ({
          id: `command-${id}`,
          title: t('commands.on', { name }),
          group: 'actions' as const,
          run: () => router.push({ path: '/commands', query: { nodes: id } }),
        })),
    )
  },
}
