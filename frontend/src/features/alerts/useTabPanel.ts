/** The panel of a tab: which object it shows stands in the address, beside the tab's filters. */
import { computed, type ComputedRef } from 'vue'
import { useRoute, useRouter } from 'vue-router'

export interface TabPanel {
  id: ComputedRef<string>
  open: (id: string) => void
  close: () => void
}

/** `seeds`: parts of the query that a panel began with, which are gone when it is closed. */
export function useTabPanel(base: string, seeds: readonly string[] = []): TabPanel {
  const route = useRoute()
  const router = useRouter()
  const go = (rest: string, query = route.query): void => void router.push({ path: base + rest, query })
  return {
    id: computed(() => (typeof route.params['id'] === 'string' ? route.params['id'] : '')),
    open: (id) => go(`/${id}`),
    close: () =>
      go('', Object.fromEntries(Object.entries(route.query).filter(([name]) => !seeds.includes(name)))),
  }
}
