/** Terminals on nodes. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRouter } from 'vue-router'
import type { Feature } from '@/shared/feature'
import { useCollection } from '@/stores/live'

export const terminal: Feature = {
  name: 'terminal',
  nav: { path: '/terminal', icon: 'terminal', key: 'goTerminal', permission: 'terminal' },
  routes: [
    {
      path: '/terminal',
      name: 'terminal',
      meta: { feature: 'terminal' },
      component: () => import('./TerminalPage.vue'),
    },
    {
      path: '/terminal/shared/:id',
      name: 'terminal-shared',
      meta: { feature: 'terminal' },
      component: () => import('./SharedPage.vue'),
    },
    {
      path: '/terminal/recordings',
      name: 'terminal-recordings',
      meta: { feature: 'terminal' },
      component: () => import('./RecordingsPage.vue'),
    },
    {
      path: '/terminal/recordings/:id',
      name: 'terminal-recording',
      meta: { feature: 'terminal' },
      component: () => import('./RecordingPage.vue'),
    },
  ],
  useCommands: () => {
    const { t } = useI18n()
    const router = useRouter()
    const nodes = useCollection('nodes')
    return computed(() =>
      [...nodes.byId.value.values()]
        .filter(({ status }) => status === 'online')
        .map(({ id, name }) => ({
          id: `terminal-${id}`,
          title: t('terminal.on', { name }),
          group: 'actions' as const,
          run: () => router.push({ path: '/terminal', query: { node: id } }),
        })),
    )
  },
}
