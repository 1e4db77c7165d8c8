/** The panel of a tab: which object it shows stands in the address, beside the tab's filters. */
import { computed, type ComputedRef } from 'vue'
import { useRoute, useRouter } from 'vue-router'

export interface TabPanel {
  id: ComputedRef<string>
  open: (id: string) => void
  close: () => void
}

export function useTabPanel(base: string): TabPanel {
  const route = useRoute()
  const router = useRouter()
  const go = (rest: string): void => void router.push({ path: base + rest, query: route.query })
  return {
    id: computed(() => (typeof route.params['id'] === 'string' ? route.params['id'] : '')),
    open: (id) => go(`/${id}`),
    close: () => go(''),
  }
}
