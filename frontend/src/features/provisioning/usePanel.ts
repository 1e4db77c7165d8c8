/** The panel of a tab: whose it is stands in the address, beside the tab's filters. */
import { computed, type ComputedRef } from 'vue'
import { useRoute, useRouter } from 'vue-router'

export interface Panel {
  /** The rest of the address behind the tab: `new`, `dc1/SN1`; '' while none is open. */
  at: ComputedRef<string>
  open: (at: string) => void
  close: () => void
}

export function usePanel(tab: string): Panel {
  const base = `/provisioning/${tab}`
  const route = useRoute()
  const router = useRouter()
  const go = (rest: string): void => void router.push({ path: base + rest, query: route.query })
  return {
    at: computed(() => decodeURIComponent(route.path.slice(base.length + 1))),
    open: (at) => go(`/${at.split('/').map(encodeURIComponent).join('/')}`),
    close: () => go(''),
  }
}
