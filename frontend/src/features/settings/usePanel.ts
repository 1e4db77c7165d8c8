/** The panel of a tab: which object it shows stands in the address; `new` is the form of another. */
import { computed, type ComputedRef } from 'vue'
import { useRoute, useRouter } from 'vue-router'

export interface Panel {
  id: ComputedRef<string>
  open: (id: string) => void
  close: () => void
}

export function usePanel(tab: string): Panel {
  const route = useRoute()
  const router = useRouter()
  const go = (rest: string): void => void router.push({ path: `/settings/${tab}${rest}`, query: route.query })
  return {
    id: computed(() => (typeof route.params['id'] === 'string' ? route.params['id'] : '')),
    open: (id) => go(`/${id}`),
    close: () => go(''),
  }
}
