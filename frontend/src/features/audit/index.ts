/** Who did what: the audit log, its proof, its export. */
import type { Feature } from '@/shared/feature'

const page = (): Promise<object> => import('./AuditPage.vue')
const meta = { feature: 'audit' }

export const audit: Feature = {
  name: 'audit',
  nav: { path: '/audit', icon: 'audit', key: 'goAudit', permission: 'admin' },
  routes: [
    { path: '/audit', name: 'audit', meta, component: page },
    { path: '/audit/:seq', name: 'audit-row', meta, component: page },
  ],
}
