/** Addresses of the console: the features' routes behind one question, who is signed in. */
import {
  createRouter,
  createWebHistory,
  type RouteLocationNormalized,
  type RouteLocationRaw,
  type Router,
} from 'vue-router'
import type { Feature } from './shared/feature'
import type { useSession } from './stores/session'

type Session = ReturnType<typeof useSession>

/** What browsers, and Vite for a style, say of a file of a page that did not come; any other error is a bug of ours. */
const NOT_FETCHED = /dynamically imported module|importing a module script failed|unable to preload css/i

/** Where to go instead of `to`; true lets it pass. */
async function admit(to: RouteLocationNormalized, session: Session): Promise<RouteLocationRaw | true> {
  try {
    await session.load()
  } catch {
    return to.name === 'unreachable' ? true : { name: 'unreachable', query: { to: to.fullPath } }
  }
  if (session.user)
    return to.name === 'login' || to.name === 'setup' || to.name === 'unreachable' ? '/' : true
  if (session.isSetupRequired) return to.name === 'setup' ? true : { name: 'setup', hash: to.hash }
  return to.name === 'login' ? true : { name: 'login', query: { to: to.fullPath } }
}

export function makeRouter(features: Feature[], session: Session): Router {
  const router = createRouter({
    history: createWebHistory(),
    routes: [
      ...features.flatMap((feature) => feature.routes),
      { path: '/:rest(.*)*', name: 'lost', component: () => import('./shared/frame/LostPage.vue') },
    ],
  })
  router.beforeEach((to) => admit(to, session))
  // A page's own files did not come: the network changed under it, or a new version of the console took its place.
  router.onError((error, to) => {
    if (NOT_FETCHED.test(String(error))) window.opsLoadAgain?.(to.fullPath)
  })
  return router
}
