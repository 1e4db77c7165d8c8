/** The end of one log, as it is written: the last lines by GET, then what follows by WebSocket. */
import { onScopeDispose, ref, shallowRef, triggerRef, type Ref, type ShallowRef } from 'vue'
import { ApiError } from '@/api/http'
import type { LogLine } from '@/api/types'
import { followUrl, readLog } from './api'
import { LogBuffer, withoutOverlap, type NumberedLine } from './logBuffer'

export type FollowState = 'loading' | 'following' | 'broken'

export interface LogTail {
  lines: ShallowRef<NumberedLine[]>
  state: Ref<FollowState>
  error: ShallowRef<unknown>
  isPaused: Ref<boolean>
  /** Lines that came while paused. */
  held: Ref<number>
  dropped: Ref<number>
  hasOlder: Ref<boolean>
  resume: () => void
  older: () => Promise<void>
}

const TAIL = 500
const RETRY_MS = 2000
const FLUSH_MS = 100
const MOST_HELD = 20_000

// eslint-disable-next-line max-lines-per-function -- one connection's story, told in small named steps
export function useLogTail(id: string, name: string): LogTail {
  let buffer = new LogBuffer()
  const lines = shallowRef<NumberedLine[]>([])
  const state = ref<FollowState>('loading')
  const error = shallowRef<unknown>(null)
  const isPaused = ref(false)
  const held = ref(0)
  const dropped = ref(0)
  const hasOlder = ref(false)
  let before: number | null | undefined
  let waiting: LogLine[] = []
  let socket: WebSocket | null = null
  let retry: ReturnType<typeof setTimeout> | undefined
  let isGone = false
  let isReading = true

  function show(): void {
    lines.value = buffer.lines
    triggerRef(lines)
  }

  /** Ten times a second at most, however fast the log is written. */
  const flusher = setInterval(() => {
    if (waiting.length === 0 || isPaused.value || isReading) {
      held.value = waiting.length
      return
    }
    dropped.value += buffer.append(waiting)
    waiting = []
    held.value = 0
    show()
  }, FLUSH_MS)

  function receive(text: string): void {
    const frame = JSON.parse(text) as { lines?: LogLine[]; end?: { code: string; message: string } }
    if (frame.end?.code) error.value = new ApiError(0, frame.end.code, frame.end.message)
    for (const line of frame.lines ?? []) waiting.push(line)
    if (waiting.length <= MOST_HELD) return
    dropped.value += waiting.length - MOST_HELD
    waiting = waiting.slice(-MOST_HELD)
  }

  /** Read the end of the log; what has come by the socket meanwhile follows it, no line twice. */
  async function readEnd(): Promise<void> {
    try {
      const tail = await readLog(id, name, TAIL)
      if (isGone) return
      buffer = new LogBuffer()
      buffer.append(tail.lines)
      waiting = withoutOverlap(tail.lines, waiting)
      before = tail.before
      hasOlder.value = before !== null && before !== undefined
      error.value = null
      show()
    } catch (problem) {
      error.value = problem
    }
    isReading = false
  }

  /** Follow first, then read the end: nothing written in between is missed. */
  function start(): void {
    const opened = new WebSocket(followUrl(id, name))
    let wasOpen = false
    socket = opened
    waiting = []
    isReading = true
    opened.onopen = () => {
      wasOpen = true
      state.value = 'following'
      void readEnd()
    }
    opened.onmessage = (event) => receive(String(event.data))
    opened.onclose = () => {
      if (isGone) return
      state.value = 'broken'
      // A socket that was refused does not say why; the same question by GET does.
      if (!wasOpen) void readEnd()
      retry = setTimeout(start, RETRY_MS)
    }
  }

  async function older(): Promise<void> {
    if (before === null || before === undefined) return
    const page = await readLog(id, name, TAIL, before)
    buffer.prepend(page.lines)
    before = page.before
    hasOlder.value = before !== null && before !== undefined
    show()
  }

  onScopeDispose(() => {
    isGone = true
    clearTimeout(retry)
    clearInterval(flusher)
    socket?.close()
  })
  start()
  const resume = (): void => void (isPaused.value = false)
  return { lines, state, error, isPaused, held, dropped, hasOlder, resume, older }
}
