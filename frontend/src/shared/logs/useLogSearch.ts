/** Searching the whole stored log, a page of hits after the other, the latest first. */
import { computed, onScopeDispose, ref, shallowRef, type ComputedRef, type Ref, type ShallowRef } from 'vue'
import type { LogSource, SearchQuery } from './source'

export interface LogSearch {
  /** Offsets of the hits in the order of the log. */
  hits: ShallowRef<number[]>
  current: Ref<number>
  isRunning: Ref<boolean>
  isOpenEnded: Ref<boolean>
  percent: Ref<number>
  error: ShallowRef<unknown>
  hasQuery: ComputedRef<boolean>
  isHit: (offset: number) => boolean
  begin: (query: SearchQuery) => Promise<void>
  stop: () => void
  clear: () => void
  /** Go to the next (1) or the one before (-1); its offset, null without hits. */
  step: (by: 1 | -1) => number | null
}

export const MOST_HITS = 20_000

// eslint-disable-next-line max-lines-per-function -- one search's story, told in small named steps
export function useLogSearch(source: LogSource): LogSearch {
  const hits = shallowRef<number[]>([])
  let known = new Set<number>()
  const current = ref(-1)
  const isRunning = ref(false)
  const isOpenEnded = ref(false)
  const percent = ref(0)
  const error = shallowRef<unknown>(null)
  const query = shallowRef<SearchQuery | null>(null)
  let asked = 0

  function clear(): void {
    stop()
    query.value = null
    error.value = null
    hits.value = []
    known = new Set()
    current.value = -1
    isOpenEnded.value = false
  }

  function stop(): void {
    asked += 1
    isRunning.value = false
  }

  /** Earlier hits stand before those known: the chosen one keeps its place among them. */
  function take(offsets: number[]): void {
    const earlier = [...offsets].reverse()
    for (const offset of offsets) known.add(offset)
    current.value = current.value < 0 ? -1 : current.value + earlier.length
    hits.value = [...earlier, ...hits.value]
  }

  async function begin(wanted: SearchQuery): Promise<void> {
    clear()
    if (!source.search || !wanted.q) return
    query.value = wanted
    isRunning.value = true
    percent.value = 0
    const mine = ++asked
    let start: number | null = null
    try {
      do {
        const page = await source.search(wanted, start)
        if (mine !== asked) return
        take(page.hits.map(({ offset }) => offset))
        start = page.next
        percent.value = page.total_bytes ? Math.floor((100 * page.done_bytes) / page.total_bytes) : 100
      } while (start !== null && hits.value.length < MOST_HITS)
      isOpenEnded.value = start !== null
    } catch (problem) {
      if (mine === asked) error.value = problem
    } finally {
      if (mine === asked) isRunning.value = false
    }
  }

  function step(by: 1 | -1): number | null {
    const count = hits.value.length
    if (count === 0) return null
    current.value = current.value < 0 ? count - 1 : (current.value + by + count) % count
    return hits.value[current.value] ?? null
  }

  onScopeDispose(stop)
  const hasQuery = computed(() => query.value !== null)
  const isHit = (offset: number): boolean => hits.value.length > 0 && known.has(offset)
  return {
    ...{ hits, current, isRunning, isOpenEnded, percent, error, hasQuery },
    ...{ isHit, begin, stop, clear, step },
  }
}
