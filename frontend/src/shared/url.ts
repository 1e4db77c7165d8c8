/** State that lives in the address: back works, a reload shows the same. */
import { computed, type WritableComputedRef } from 'vue'
import { useRoute, useRouter } from 'vue-router'

/** A query parameter as a ref; the fallback is not written. Typing replaces the entry, it does not pile up history. */
export function useQueryParam(name: string, fallback = ''): WritableComputedRef<string> {
  const route = useRoute()
  const router = useRouter()
  return computed({
    get: () => {
      const value = route.query[name]
      return typeof value === 'string' ? value : fallback
    },
    set: (value) => {
      const { [name]: _before, ...others } = route.query
      const query = value === fallback ? others : { ...others, [name]: value }
      void router.replace({ query, hash: route.hash })
    },
  })
}
