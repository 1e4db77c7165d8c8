/** A window on a log: its end as it is written, or a place in the past from which one may go both ways. */
import { onScopeDispose, ref, shallowRef, triggerRef, type Ref, type ShallowRef } from 'vue'
import { ApiError } from '@/api/http'
import { LineStore, withoutOverlap } from './lines'
import { readFrame, type Line, type LinePage, type LogSource, type PageQuery } from './source'

export type FollowState = 'loading' | 'following' | 'broken'

export interface LogFeed {
  store: ShallowRef<LineStore>
  state: Ref<FollowState>
  error: ShallowRef<unknown>
  unread: ShallowRef<LinePage['unread']>
  isPaused: Ref<boolean>
  /** Lines that wait: those of a pause, and those at the end while one looks at the past. */
  held: Ref<number>
  /** How many old lines the page itself had to let go. */
  trimmed: Ref<number>
  hasOlder: Ref<boolean>
  hasNewer: Ref<boolean>
  older: () => Promise<number>
  newer: () => Promise<void>
  /** Show a place; the number of the line found, null when there is none. */
  show: (place: { around: number } | { at: string }) => Promise<number | null>
  toEnd: () => Promise<void>
}

const PAGE = 1000
const RETRY_MS = 2000
const FLUSH_MS = 100
const MOST_HELD = 20_000

// eslint-disable-next-line max-lines-per-function -- one window's story, told in small named steps
export function useLogFeed(source: LogSource, begin: number | null): LogFeed {
  const store = shallowRef(new LineStore())
  const state = ref<FollowState>('loading')
  const error = shallowRef<unknown>(null)
  const unread = shallowRef<LinePage['unread']>([])
  const isPaused = ref(false)
  const held = ref(0)
  const trimmed = ref(0)
  const hasOlder = ref(false)
  const hasNewer = ref(false)
  const edges: { before: string | null; after: string | null } = { before: null, after: null }
  let waiting: Line[] = []
  let isReading = true
  let asked = 0

  function replace(page: LinePage): void {
    const fresh = new LineStore()
    fresh.append(page.lines)
    store.value = fresh
    trimmed.value = 0
    mark(page.before, page.after)
    unread.value = page.unread
    waiting = hasNewer.value ? [] : withoutOverlap(page.lines, waiting)
  }

  function mark(before: string | null, after: string | null): void {
    Object.assign(edges, { before, after })
    hasOlder.value = before !== null
    hasNewer.value = after !== null
  }

  /** Ask for a page; an answer that was overtaken is dropped. */
  async function read(query: Omit<PageQuery, 'tail'>): Promise<LinePage | null> {
    const mine = ++asked
    isReading = true
    try {
      const page = await source.read({ tail: PAGE, ...query })
      if (mine !== asked) return null
      error.value = null
      return page
    } catch (problem) {
      if (mine === asked) error.value = problem
      return null
    } finally {
      if (mine === asked) isReading = false
    }
  }

  async function toEnd(): Promise<void> {
    isPaused.value = false
    if (!hasNewer.value && store.value.count > 0) return
    const page = await read({})
    if (page) replace(page)
  }

  async function older(): Promise<number> {
    if (edges.before === null || isReading) return 0
    const page = await read({ before: edges.before })
    if (!page) return 0
    const taken = store.value.prepend(page.lines)
    mark(taken < page.lines.length ? null : page.before, edges.after)
    triggerRef(store)
    return taken
  }

  async function newer(): Promise<void> {
    if (edges.after === null || isReading) return
    const page = await read({ after: edges.after })
    if (!page) return
    add(page.lines)
    mark(edges.before, page.after)
    if (page.after === null) waiting = withoutOverlap(page.lines, waiting)
  }

  async function show(place: { around: number } | { at: string }): Promise<number | null> {
    const known = 'around' in place ? store.value.find(place.around) : null
    if (known !== null) return known
    const page = await read(place)
    if (!page) return null
    replace(page)
    if ('at' in place)
      return page.found === null ? null : (store.value.find(page.found) ?? store.value.end - 1)
    const next = page.lines.findIndex(({ offset }) => offset > place.around)
    return next < 0 ? store.value.end - 1 : Math.max(0, next - 1)
  }

  function add(lines: Line[]): void {
    trimmed.value += store.value.append(lines)
    if (trimmed.value > 0) hasOlder.value = false
    triggerRef(store)
  }

  /** Ten times a second at most, however fast the log is written. */
  const flusher = setInterval(() => {
    if (waiting.length > 0 && !isPaused.value && !isReading && !hasNewer.value) {
      add(waiting)
      waiting = []
    }
    held.value = waiting.length
  }, FLUSH_MS)

  function receive(text: string): void {
    const frame = readFrame(text)
    if (frame.end?.code) error.value = new ApiError(0, frame.end.code, frame.end.message)
    for (const line of frame.lines) waiting.push(line)
    if (waiting.length <= MOST_HELD) return
    const cut = waiting.length - MOST_HELD
    const gone = waiting.slice(0, cut).reduce((sum, { dropped }) => sum + Math.max(1, dropped), 0)
    waiting = [{ offset: -1, at: null, text: '', instance: '', dropped: gone }, ...waiting.slice(cut)]
  }

  const stop = follow(source.followUrl, {
    receive,
    opened: async () => {
      const isFirst = state.value === 'loading'
      state.value = 'following'
      if (isFirst && begin !== null) return
      if (!hasNewer.value) {
        const page = await read({})
        if (page) replace(page)
      }
    },
    broken: async (wasOpen) => {
      state.value = 'broken'
      // A socket that was refused does not say why; the same question by GET does.
      if (!wasOpen && !hasNewer.value) await read({})
    },
  })
  onScopeDispose(() => {
    asked += 1
    clearInterval(flusher)
    stop()
  })
  return {
    ...{ store, state, error, unread, isPaused, held, trimmed, hasOlder, hasNewer },
    ...{ older, newer, show, toEnd },
  }
}

interface Listener {
  receive: (text: string) => void
  opened: () => Promise<void>
  broken: (wasOpen: boolean) => Promise<void>
}

/** Keep a socket open until told to stop. What is written while a page is read waits for it: nothing is missed. */
function follow(url: string, listener: Listener): () => void {
  let socket: WebSocket | null = null
  let retry: ReturnType<typeof setTimeout> | undefined
  let isGone = false
  function open(): void {
    const opened = new WebSocket(url)
    let wasOpen = false
    socket = opened
    opened.onopen = () => {
      wasOpen = true
      void listener.opened()
    }
    opened.onmessage = (event) => listener.receive(String(event.data))
    opened.onclose = () => {
      if (isGone) return
      void listener.broken(wasOpen)
      retry = setTimeout(open, RETRY_MS)
    }
  }
  open()
  return () => {
    isGone = true
    clearTimeout(retry)
    socket?.close()
  }
}
