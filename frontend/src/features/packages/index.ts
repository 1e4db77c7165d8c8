/** The catalogue of service packages: drop a zip in, look into it, take a version out. */
import type { Feature } from '@/shared/feature'

const page = (): Promise<object> => import('./PackagesPage.vue')
const meta = { feature: 'packages' }

export const packages: Feature = {
  name: 'packages',
  nav: { path: '/packages', icon: 'packages', key: 'goPackages' },
  routes: [
    { path: '/packages', name: 'packages', meta, component: page },
    { path: '/packages/:name/:version', name: 'package', meta, component: page },
  ],
}
