/** The whole at a glance. */
import type { Feature } from '@/shared/feature'

export const overview: Feature = {
  name: 'overview',
  nav: { path: '/', icon: 'overview', key: 'goOverview' },
  routes: [
    {
      path: '/',
      name: 'overview',
      meta: { feature: 'overview' },
      component: () => import('./OverviewPage.vue'),
    },
  ],
}
