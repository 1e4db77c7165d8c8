/** Business groups: systems, their modules, and what of them runs where. */
import type { Feature } from '@/shared/feature'

const component = (): Promise<object> => import('./SystemsPage.vue')
const meta = { feature: 'systems' }

export const systems: Feature = {
  name: 'systems',
  nav: { path: '/systems', icon: 'systems', key: 'goSystems' },
  routes: [
    { path: '/systems', name: 'systems', meta, component },
    { path: '/systems/new', name: 'system-new', meta, component },
    { path: '/systems/:systemId', name: 'system', meta, component },
    { path: '/systems/:systemId/modules/new', name: 'module-new', meta, component },
    { path: '/systems/:systemId/modules/:moduleId', name: 'module', meta, component },
    { path: '/systems/:systemId/modules/:moduleId/edit', name: 'module-edit', meta, component },
    { path: '/systems/:systemId/modules/:moduleId/deploy', name: 'deploy', meta, component },
  ],
}
