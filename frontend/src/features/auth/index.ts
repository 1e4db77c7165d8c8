/** First administrator, signing in, and the page for a master that does not answer. */
import type { Feature } from '@/shared/feature'

export const auth: Feature = {
  name: 'auth',
  routes: [
    { path: '/setup', name: 'setup', meta: { isPublic: true }, component: () => import('./SetupPage.vue') },
    { path: '/login', name: 'login', meta: { isPublic: true }, component: () => import('./LoginPage.vue') },
    {
      path: '/unreachable',
      name: 'unreachable',
      meta: { isPublic: true },
      component: () => import('./UnreachablePage.vue'),
    },
  ],
}
