/** The config centre: templates with their versions, variables, and what a change of them reaches. */
import type { Feature } from '@/shared/feature'

const component = (): Promise<object> => import('./ConfigPage.vue')
const meta = { feature: 'config' }

export const templates: Feature = {
  name: 'config',
  nav: { path: '/config', icon: 'config', key: 'goConfig' },
  routes: [
    { path: '/config', name: 'config', meta, component },
    { path: '/config/new', name: 'template-new', meta, component },
    { path: '/config/:templateId', name: 'template', meta, component: () => import('./TemplatePage.vue') },
  ],
}
