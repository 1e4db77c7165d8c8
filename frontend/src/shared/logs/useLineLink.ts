/** Which log, and which of its lines, the address names: `?log=stderr&line=1234`. */
import { computed, type ComputedRef, type WritableComputedRef } from 'vue'
import { useRoute, useRouter } from 'vue-router'

export interface LineLink {
  name: WritableComputedRef<string>
  line: ComputedRef<number | null>
  /** Put a line into the address. */
  linkTo: (offset: number) => void
}

export function useLineLink(): LineLink {
  const route = useRoute()
  const router = useRouter()
  const name = computed({
    get: () => (typeof route.query['log'] === 'string' ? route.query['log'] : 'stdout'),
    set: (log) => {
      const { line: _line, log: _log, ...others } = route.query
      void router.replace({ query: log === 'stdout' ? others : { ...others, log }, hash: route.hash })
    },
  })
  const line = computed(() => {
    const text = route.query['line']
    return typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : null
  })
  const linkTo = (offset: number): void =>
    void router.replace({ query: { ...route.query, line: String(offset) }, hash: route.hash })
  return { name, line, linkTo }
}
