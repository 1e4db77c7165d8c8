/** One page of the list as the server cuts it, with what the live link knows newer laid over it. */
import { computed, type ComputedRef, type Ref } from 'vue'
import type { Operation } from '@/api/types'
import { PAGE_SIZE } from '@/shared/pages'
import { useResource } from '@/shared/useResource'
import { useCollection } from '@/stores/live'
import { listOperations } from './api'

export interface OperationList {
  rows: ComputedRef<Operation[]>
  total: ComputedRef<number>
  error: Ref<unknown>
  isLoading: Ref<boolean>
  reload: () => Promise<void>
}

export interface Wanted {
  q: Ref<string>
  state: Ref<string>
  offset: Ref<number>
}

export function useOperations({ q, state, offset }: Wanted): OperationList {
  const live = useCollection('operations')
  const newest = computed(() =>
    [...live.byId.value.values()].reduce((max, op) => (op.created_at > max ? op.created_at : max), ''),
  )
  const page = useResource(
    () =>
      listOperations({
        q: q.value,
        state: state.value,
        offset: offset.value,
        limit: PAGE_SIZE,
        sort: '-created_at',
      }),
    [q, state, offset, newest],
  )
  const rows = computed(() => {
    const known = live.byId.value
    const wanted = state.value.split(',').filter(Boolean)
    return (page.data.value?.items ?? [])
      .map((operation) => known.get(operation.id) ?? operation)
      .filter((operation) => wanted.length === 0 || wanted.includes(operation.state))
  })
  const total = computed(() => page.data.value?.total ?? 0)
  return { rows, total, error: page.error, isLoading: page.isLoading, reload: page.reload }
}
