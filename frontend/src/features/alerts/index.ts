/** What fires, what fired, the rules behind it, and what is silenced. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRouter, type RouteRecordRaw } from 'vue-router'
import { useAlertName, useAlerts } from '@/shared/alerts/useAlerts'
import type { Command, Feature } from '@/shared/feature'
import { useSession } from '@/stores/session'

const meta = { feature: 'alerts' }

/** A tab whose list opens a panel at an address of its own. */
const tab = (path: string, name: string, component: () => Promise<object>): RouteRecordRaw[] => [
  { path, name, meta, component },
  { path: path ? `${path}/:id` : ':id', name: `${name}-one`, meta, component },
]

export const alerts: Feature = {
  name: 'alerts',
  nav: { path: '/alerts', icon: 'bell', key: 'goAlerts' },
  routes: [
    {
      path: '/alerts',
      meta,
      component: () => import('./AlertsPage.vue'),
      children: [
        ...tab('history', 'alerts-history', () => import('./HistoryTab.vue')),
        ...tab('rules', 'alerts-rules', () => import('./RulesTab.vue')),
        ...tab('silences', 'alerts-silences', () => import('./SilencesTab.vue')),
        ...tab('', 'alerts-firing', () => import('./FiringTab.vue')),
      ],
    },
  ],
  useCommands: () => {
    const { t } = useI18n()
    const router = useRouter()
    const session = useSession()
    const open = useAlerts()
    const nameOf = useAlertName()
    const act = (id: string, title: string, path: string): Command => ({
      id,
      title,
      group: 'actions',
      run: () => router.push(path),
    })
    return computed<Command[]>(() => [
      act('alert-history', t('alerts.command.history'), '/alerts/history'),
      act('alert-rules', t('alerts.command.rules'), '/alerts/rules'),
      ...(session.canAdminister
        ? [act('alert-rule-new', t('alerts.command.newRule'), '/alerts/rules/new')]
        : []),
      ...(session.canOperate
        ? [act('silence-new', t('alerts.command.newSilence'), '/alerts/silences/new')]
        : []),
      ...open.firing.value.map((alert) =>
        act(`alert-${alert.id}`, `${nameOf(alert)}: ${alert.subject_name}`, `/alerts/${alert.id}`),
      ),
    ])
  },
}
