/** A list the server filters, sorts and cuts; what was asked for stands in the address. */
import { computed, watch, type ComputedRef, type Ref, type WritableComputedRef } from 'vue'
import type { Query } from '@/api/http'
import type { Page } from '@/api/types'
import { PAGE_SIZE } from './pages'
import { useQueryParam } from './url'
import { useResource } from './useResource'

export interface ServerList<T> {
  rows: ComputedRef<T[]>
  total: ComputedRef<number>
  q: WritableComputedRef<string>
  sort: WritableComputedRef<string>
  offset: ComputedRef<number>
  turn: (offset: number) => void
  error: Ref<unknown>
  isLoading: Ref<boolean>
  reload: () => Promise<void>
}

/** `filters` are further query values by the server's names; a change of any begins at the first page again. */
export function useServerList<T>(
  read: (query: Query) => Promise<Page<T>>,
  filters: Record<string, Ref<string>> = {},
): ServerList<T> {
  const q = useQueryParam('q')
  const sort = useQueryParam('sort')
  const offsetText = useQueryParam('offset', '0')
  const offset = computed(() => Number(offsetText.value) || 0)
  const wanted = computed(() => ({
    ...Object.fromEntries(Object.entries(filters).map(([name, value]) => [name, value.value])),
    q: q.value,
    sort: sort.value,
  }))
  const page = useResource(
    () => read({ ...wanted.value, offset: offset.value, limit: PAGE_SIZE }),
    [() => JSON.stringify(wanted.value), offset],
  )
  watch(
    () => JSON.stringify(wanted.value),
    () => offset.value > 0 && (offsetText.value = '0'),
  )
  return {
    rows: computed(() => page.data.value?.items ?? []),
    total: computed(() => page.data.value?.total ?? 0),
    q,
    sort,
    offset,
    turn: (to) => (offsetText.value = String(to)),
    error: page.error,
    isLoading: page.isLoading,
    reload: page.reload,
  }
}
