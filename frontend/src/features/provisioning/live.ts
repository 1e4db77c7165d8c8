/** What a data centre tells by itself: `tasks:{idc}` and `machines:{idc}`, for as many of them as a page shows. */
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

interface Delta {
  items?: Placed[]
  removed?: string[]
}

/** Hear the frames of `kind:idc` of every data centre that `idcs` names while the calling component lives. */
function useFrames(kind: 'tasks' | 'machines', idcs: () => string[], hear: (frame: Frame) => void): void {
  const scopes = new Map<string, EffectScope>()
  const follow = (wanted: string[]): void => {
    for (const [idc, scope] of scopes) {
      if (wanted.includes(idc)) continue
      scope.stop()
      scopes.delete(idc)
    }
    for (const idc of wanted) {
      if (scopes.has(idc)) continue
      const scope = effectScope(true)
      scope.run(() => useTopic(`${kind}:${idc}`, hear))
      scopes.set(idc, scope)
    }
  }
  watch(idcs, (wanted) => follow([...new Set(wanted)].filter(Boolean)), { immediate: true })
  onScopeDispose(() => follow([]))
}

export interface Overlay<T> {
  /** What the link told of each since the page stands; nothing of those it has not told of. */
  told: ShallowRef<Map<string, Partial<T>>>
}

/** The newest of each row. `onStranger` is called when the link tells of one the page does not show, or takes one away. */
export function useOverlay<T extends Placed>(
  kind: 'tasks' | 'machines',
  idcs: () => string[],
  isShown: (key: string) => boolean,
  onStranger: () => void,
): Overlay<T> {
  const told = shallowRef(new Map<string, Partial<T>>())
  useFrames(kind, idcs, (frame) => {
    if (frame.type === 'error') return
    const { items = [], removed = [] } = frame.data as Delta
    for (const item of items) told.value.set(keyOf(item), item as unknown as Partial<T>)
    triggerRef(told)
    const isNews = frame.type === 'change' && items.some((item) => !isShown(keyOf(item)))
    if (isNews || removed.length > 0) onStranger()
  })
  return { told }
}

/** Call `act` when settings, client or heartbeat of any data centre change. */
export const useIdcNews = (act: () => void): void => useTopic('idcs', act)

/** Call `act` when the link tells anything of one task or machine. */
export function useNews(kind: 'tasks' | 'machines', { idc, sn }: Placed, act: () => void): void {
  useFrames(
    kind,
    () => [idc],
    (frame) => {
      if (frame.type !== 'change') return
      const { items = [], removed = [] } = frame.data as Delta
      if (items.some((item) => item.sn === sn) || removed.includes(keyOf({ idc, sn }))) act()
    },
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
