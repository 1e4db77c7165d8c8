/** How many installations stand where, over all data centres. */
import { computed, onScopeDispose, type ComputedRef } from 'vue'
import { http } from '@/api/http'
import { useResource } from '@/shared/useResource'
import { useTopic } from '@/stores/live'

/** `GET /stats`: one number a status, and beside them what is no status. */
export type Stats = Record<string, unknown> & { total: number }

const NO_STATUS = new Set(['total', 'machines', 'unmatched', 'idcs'])
const PAUSE_MS = 1000

export interface TaskCounts {
  total: ComputedRef<number>
  byStatus: ComputedRef<Record<string, number>>
}

export function countTasks(stats: Stats | null): Record<string, number> {
  const entries = Object.entries(stats ?? {}).filter(
    ([name, count]) => !NO_STATUS.has(name) && Number(count) > 0,
  )
  return Object.fromEntries(entries) as Record<string, number>
}

/** Read once, and at most once a second while data centres say that something changed. */
export function useTaskCounts(): TaskCounts {
  const stats = useResource(() => http.get<Stats>('/stats'))
  let timer: ReturnType<typeof setTimeout> | null = null
  useTopic('idcs', () => {
    timer ??= setTimeout(() => {
      timer = null
      void stats.reload()
    }, PAUSE_MS)
  })
  onScopeDispose(() => timer !== null && clearTimeout(timer))
  return {
    total: computed(() => stats.data.value?.total ?? 0),
    byStatus: computed(() => countTasks(stats.data.value)),
  }
}
