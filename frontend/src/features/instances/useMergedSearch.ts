/** Searching the logs of many instances, a page of hits after the other, until each is at its end. */
import { onScopeDispose, ref, shallowRef, type Ref, type ShallowRef } from 'vue'
import { searchMerged, type MergedHits, type SearchQuery } from '@/shared/logs/source'

export interface MergedSearch {
  /** The latest first; null before the first search. */
  hits: ShallowRef<MergedHits['hits'] | null>
  unread: ShallowRef<MergedHits['unread']>
  isRunning: Ref<boolean>
  /** There is more than is shown. */
  isOpenEnded: Ref<boolean>
  error: ShallowRef<unknown>
  begin: (query: SearchQuery) => Promise<void>
  stop: () => void
  clear: () => void
}

export const MOST_HITS = 5000

export function useMergedSearch(where: () => ['modules' | 'systems', string, string]): MergedSearch {
  const hits = shallowRef<MergedHits['hits'] | null>(null)
  const unread = shallowRef<MergedHits['unread']>([])
  const isRunning = ref(false)
  const isOpenEnded = ref(false)
  const error = shallowRef<unknown>(null)
  let asked = 0

  function stop(): void {
    asked += 1
    isRunning.value = false
  }

  function clear(): void {
    stop()
    hits.value = null
    unread.value = []
    error.value = null
    isOpenEnded.value = false
  }

  async function begin(query: SearchQuery): Promise<void> {
    clear()
    const mine = asked
    isRunning.value = true
    hits.value = []
    try {
      let start: string | null = ''
      while (start !== null && hits.value.length < MOST_HITS) {
        const page: MergedHits = await searchMerged(...where(), query, start)
        if (mine !== asked) return
        hits.value = latestFirst([...hits.value, ...page.hits])
        unread.value = [...unread.value, ...page.unread]
        start = page.next
      }
      isOpenEnded.value = start !== null
    } catch (problem) {
      if (mine === asked) error.value = problem
    } finally {
      if (mine === asked) isRunning.value = false
    }
  }

  onScopeDispose(stop)
  return { hits, unread, isRunning, isOpenEnded, error, begin, stop, clear }
}

/** Each instance is searched at its own pace, so pages have to be put in order. */
export function latestFirst(hits: MergedHits['hits']): MergedHits['hits'] {
  return [...hits].sort((a, b) => (b.at ?? '').localeCompare(a.at ?? ''))
}
