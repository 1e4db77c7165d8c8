/** What the server tells by itself of tasks and machines: of each that a page shows, and how many there are of which. */
import {
  effectScope,
  onScopeDispose,
  shallowRef,
  triggerRef,
  watch,
  type EffectScope,
  type ShallowRef,
} from 'vue'
import type { Frame } from '@/api/live'
import { useTopic } from '@/stores/live'

/** What names a task or machine everywhere: its place and its serial number. */
export interface Placed {
  idc: string
  sn: string
}

export const keyOf = ({ idc, sn }: Placed): string => `${idc}/${sn}`

interface Delta<T> {
  items?: T[]
  removed?: string[]
}

/** Hear the frames of `kind:key` for every key that `keys` names while the calling component lives. */
function useFrames(kind: 'task' | 'machine', keys: () => string[], hear: (frame: Frame) => void): void {
  const scopes = new Map<string, EffectScope>()
  const follow = (wanted: Set<string>): void => {
    for (const [key, scope] of scopes) {
      if (wanted.has(key)) continue
      scope.stop()
      scopes.delete(key)
    }
    for (const key of wanted) {
      if (scopes.has(key)) continue
      const scope = effectScope(true)
      scope.run(() => useTopic(`${kind}:${key}`, hear))
      scopes.set(key, scope)
    }
  }
  watch(keys, (wanted) => follow(new Set(wanted)), { immediate: true })
  onScopeDispose(() => follow(new Set()))
}

export interface Overlay<T> {
  /** What the link told of each row the page shows; nothing of those it has not told of. */
  told: ShallowRef<Map<string, Partial<T>>>
}

/** The newest of each row of a page: ten thousand others may change meanwhile, the page does not hear of them. */
export function useOverlay<T extends Placed>(kind: 'task' | 'machine', rows: () => T[]): Overlay<T> {
  const told = shallowRef(new Map<string, Partial<T>>())
  const keys = (): string[] => rows().map(keyOf)
  useFrames(kind, keys, (frame) => {
    if (frame.type === 'error') return
    for (const item of (frame.data as Delta<T>).items ?? []) told.value.set(keyOf(item), item)
    triggerRef(told)
  })
  watch(keys, (shown) => {
    const kept = new Set(shown)
    for (const key of told.value.keys()) if (!kept.has(key)) told.value.delete(key)
  })
  return { told }
}

/** One number a status, and how many machines there are, of one data centre. */
export type IdcCounts = { idc: string } & Record<string, number | string>

export interface Counts {
  /** How many tasks have one of these statuses (divided by commas; none: all), in one data centre or in all. */
  of: (statuses: string, idc: string) => number | undefined
}

/**
 * Counts by status, live. `act` is called when they change (a task came, went on to another status, or is gone), and with
 * the first word, also after a break: nobody knows what was missed since a list was read.
 */
export function useCounts(act: () => void): Counts {
  const byIdc = shallowRef<Map<string, IdcCounts> | null>(null)
  useTopic('stats', (frame) => {
    if (frame.type === 'error') return
    const isWhole = frame.type === 'snapshot' && frame.part === 0
    const known = isWhole || byIdc.value === null ? new Map<string, IdcCounts>() : new Map(byIdc.value)
    for (const item of (frame.data as Delta<IdcCounts>).items ?? []) known.set(item.idc, item)
    byIdc.value = known
    act()
  })
  const countOf = (counts: IdcCounts, statuses: string): number =>
    (statuses || 'total').split(',').reduce((sum, name) => sum + Number(counts[name] ?? 0), 0)
  const of = (statuses: string, idc: string): number | undefined => {
    if (byIdc.value === null) return undefined
    const wanted = [...byIdc.value.values()].filter((counts) => !idc || counts.idc === idc)
    return wanted.reduce((sum, counts) => sum + countOf(counts, statuses), 0)
  }
  return { of }
}

/** Call `act` when settings, client or heartbeat of any data centre change. */
export const useIdcNews = (act: () => void): void => useTopic('idcs', act)

/**
 * Call `act` when the link tells anything of one task or machine; also when it begins to tell, and after a break:
 * between what was read before and the first word nobody knows what was missed.
 */
export function useNews(kind: 'task' | 'machine', of: Placed, act: () => void): void {
  useFrames(
    kind,
    () => [keyOf(of)],
    (frame) => void (frame.type !== 'error' && act()),
  )
}

/** `act` at once, then at most once in `spanMs` however often it is called; the last call counts. */
export function useThrottle(act: () => unknown, spanMs: number): () => void {
  let isResting = false
  let isWanted = false
  let timer: ReturnType<typeof setTimeout> | undefined
  function rest(): void {
    isResting = true
    timer = setTimeout(() => {
      isResting = false
      if (isWanted) call()
    }, spanMs)
  }
  function call(): void {
    isWanted = isResting
    if (isResting) return
    act()
    rest()
  }
  onScopeDispose(() => clearTimeout(timer))
  return call
}
