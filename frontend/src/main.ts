/** Composition root of the console. */
import { createPinia } from 'pinia'
import { createApp, watch } from 'vue'
import App from './App.vue'
import { setHooks } from './api/http'
import { features } from './features'
import { askStepUp } from './features/auth/stepUp'
import { i18n, setLanguage } from './locales'
import { makeRouter } from './router'
import { FEATURES } from './shared/feature'
import { listenForKeys } from './shared/keys'
import './shared/element'
import './shared/tokens.css'
import './shared/base.css'
import { usePreferences } from './stores/preferences'
import { useSession } from './stores/session'

async function start(): Promise<void> {
  const app = createApp(App)
  app.use(createPinia())
  const preferences = usePreferences()
  const session = useSession()
  const router = makeRouter(features, session)
  preferences.followSystem()
  watch(
    () => preferences.language,
    (language) => void setLanguage(language),
  )
  setHooks({
    onSignedOut: () => {
      session.forget()
      const current = router.currentRoute.value
      if (!current.meta.isPublic) void router.push({ path: '/login', query: { to: current.fullPath } })
    },
    onStepUp: askStepUp,
  })
  listenForKeys()
  // What the first page needs travels at once and not one after the other.
  void session.load().catch(() => undefined)
  void import('./shared/frame/AppFrame.vue')
  await setLanguage(preferences.language)
  app.use(i18n).use(router).provide(FEATURES, features)
  app.mount('#app')
}

start().catch((error: unknown) => {
  if (!window.opsLoadAgain?.()) throw error
})
