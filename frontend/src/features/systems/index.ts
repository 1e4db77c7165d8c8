/** Business groups: systems, their modules, and what of them runs where. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRouter } from 'vue-router'
import type { Command, Feature } from '@/shared/feature'
import { useCollection } from '@/stores/live'
import { useSession } from '@/stores/session'

const component = (): Promise<object> => import('./SystemsPage.vue')
const meta = { feature: 'systems' }

export const systems: Feature = {
  name: 'systems',
  nav: { path: '/systems', icon: 'systems', key: 'goSystems' },
  routes: [
    { path: '/systems', name: 'systems', meta, component },
    { path: '/systems/new', name: 'system-new', meta, component },
    { path: '/systems/import', name: 'system-import', meta, component },
    { path: '/systems/:systemId', name: 'system', meta, component },
    { path: '/systems/:systemId/topology', name: 'topology', meta, component },
    { path: '/systems/:systemId/modules/new', name: 'module-new', meta, component },
    { path: '/systems/:systemId/modules/:moduleId', name: 'module', meta, component },
    { path: '/systems/:systemId/modules/:moduleId/edit', name: 'module-edit', meta, component },
    {
      path: '/systems/:systemId/modules/:moduleId/environment',
      name: 'module-environment',
      meta,
      component,
    },
    { path: '/systems/:systemId/modules/:moduleId/deploy', name: 'deploy', meta, component },
    { path: '/systems/:systemId/modules/:moduleId/rollout', name: 'rollout', meta, component },
  ],
  useCommands: () => {
    const { t } = useI18n()
    const router = useRouter()
    const session = useSession()
    const known = useCollection('systems')
    const modules = useCollection('modules')
    return computed<Command[]>(() => [
      ...[...known.byId.value.values()].map(({ id, name }): Command => ({
        id: `system-${id}`,
        title: name,
        group: 'systems',
        run: () => router.push(`/systems/${id}`),
      })),
      ...[...modules.byId.value.values()].flatMap((module): Command[] => {
        const path = `/systems/${module.system_id}/modules/${module.id}`
        const title = `${module.name} · ${known.byId.value.get(module.system_id)?.name ?? ''}`
        const deploy = t('systems.deployTitle', { name: title })
        return [
          { id: `module-${module.id}`, title, group: 'systems', run: () => router.push(path) },
          ...(session.canOperate
            ? [
                {
                  id: `deploy-${module.id}`,
                  title: deploy,
                  group: 'actions' as const,
                  run: () => router.push(`${path}/deploy`),
                },
              ]
            : []),
        ]
      }),
    ])
  },
}
