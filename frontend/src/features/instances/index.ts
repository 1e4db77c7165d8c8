/** One instance: why it is as it is, its timeline, its log, its charts; and its acts in the palette. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRouter } from 'vue-router'
import type { Command, Feature } from '@/shared/feature'
import { actsFor } from '@/shared/instances/rules'
import { useInstanceActs } from '@/shared/instances/useInstanceActs'
import { useNames } from '@/shared/instances/useNames'
import { useCollection } from '@/stores/live'
import { useSession } from '@/stores/session'

export const instances: Feature = {
  name: 'instances',
  routes: [
    {
      path: '/instances/:id',
      name: 'instance',
      meta: { feature: 'systems' },
      component: () => import('./InstancePage.vue'),
    },
    {
      path: '/instances/:id/environment',
      name: 'instance-environment',
      meta: { feature: 'systems' },
      component: () => import('./InstancePage.vue'),
    },
    {
      path: '/modules/:id/logs',
      name: 'moduleLogs',
      meta: { feature: 'systems' },
      component: () => import('./MergedLogPage.vue'),
    },
    {
      path: '/systems/:id/logs',
      name: 'systemLogs',
      meta: { feature: 'systems' },
      component: () => import('./MergedLogPage.vue'),
    },
  ],
  useCommands: () => {
    const { t } = useI18n()
    const router = useRouter()
    const session = useSession()
    const names = useNames()
    const known = useCollection('instances')
    const acts = useInstanceActs()
    return computed<Command[]>(() =>
      [...known.byId.value.values()].flatMap((instance) => {
        const name = names.instance(instance)
        const show = (): unknown => router.push(`/instances/${instance.id}`)
        const open: Command = { id: `instance-${instance.id}`, title: name, group: 'instances', run: show }
        if (!session.canOperate) return [open]
        const commands = actsFor(instance).map((act): Command => ({
          id: `${act}-${instance.id}`,
          title: `${t(`act.${act}`)} ${name}`,
          group: 'actions',
          // The page shows how the act goes on, and what went wrong.
          run: async () => {
            await acts.perform(act, [instance], names.instance)
            await show()
          },
        }))
        return [open, ...commands]
      }),
    )
  },
}
