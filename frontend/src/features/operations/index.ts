/** Long actions: what runs, how far, how it ended. */
import type { Feature } from '@/shared/feature'

const page = (): Promise<object> => import('./OperationsPage.vue')
const meta = { feature: 'operations' }

export const operations: Feature = {
  name: 'operations',
  nav: { path: '/operations', icon: 'operations', key: 'goOperations' },
  routes: [
    { path: '/operations', name: 'operations', meta, component: page },
    { path: '/operations/:id', name: 'operation', meta, component: page },
  ],
}
