/** Backups: made, verified, brought in and out, restored; how they are made and kept. */
import type { Feature } from '@/shared/feature'

const page = (): Promise<object> => import('./BackupsPage.vue')
const meta = { feature: 'backups' }

export const backups: Feature = {
  name: 'backups',
  nav: { path: '/backups', icon: 'backups', key: 'goBackups', permission: 'admin' },
  routes: [
    { path: '/backups', name: 'backups', meta, component: page },
    { path: '/backups/:name', name: 'backup', meta, component: page },
  ],
}
