/** One look at one session: the WebSocket, its bytes into the screen, acknowledged once they are drawn. */
import { onScopeDispose, ref, shallowRef, type Ref, type ShallowRef } from 'vue'
import type { Terminal } from '@xterm/xterm'
import { ApiError } from '@/api/http'
import { getShare, listSessions, lookUrl, sharedUrl } from './api'
import { bytesOf, inMessages, type FromWorker } from './words'

export type Phase = 'opening' | 'open' | 'broken' | 'ended'

export interface LookState {
  phase: Ref<Phase>
  session: Ref<string>
  viewers: Ref<number>
  isReadOnly: Ref<boolean>
  isRecording: Ref<boolean>
  ended: ShallowRef<{ exit_code: number | null; exit_signal: string | null } | null>
  error: ShallowRef<unknown>
  open: () => Promise<void>
  type: (text: string) => void
  /** Type a binary string: a byte a character. */
  typeBytes: (text: string) => void
  resize: (cols: number, rows: number) => void
}

const RETRY_MS = 2000
const ACK_BYTES = 32 * 1024
/** What may be better in a moment: the master starts again, the node comes back. */
const PASSING = ['network', 'node_offline', 'unavailable', 'timeout', 'internal']

export interface Wanted {
  node: string
  session: string
  user: string
  isReadOnly: boolean
  isRecorded: boolean
  /** Look through this share; the session is then only looked at. */
  share: string
}

// eslint-disable-next-line max-lines-per-function -- one connection's story, told in small named steps
export function useLook(
  wanted: Wanted,
  screen: Terminal,
  size: () => { cols: number; rows: number },
  onReady: (session: string) => void,
): LookState {
  const phase = ref<Phase>('opening')
  const session = ref(wanted.session)
  const viewers = ref(1)
  const isReadOnly = ref(wanted.isReadOnly)
  const isRecording = ref(false)
  const ended = shallowRef<LookState['ended']['value']>(null)
  const error = shallowRef<unknown>(null)
  const encoder = new TextEncoder()
  let socket: WebSocket | null = null
  let retry: ReturnType<typeof setTimeout> | undefined
  let drawn = 0
  let isGone = false

  function say(word: object): void {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(word))
  }

  function draw(bytes: Uint8Array): void {
    screen.write(bytes, () => {
      drawn += bytes.length
      if (drawn < ACK_BYTES) return
      say({ type: 'ack', bytes: drawn })
      drawn = 0
    })
  }

  function hear(word: FromWorker): void {
    if (word.type === 'ready') {
      screen.reset()
      session.value = word.session
      isReadOnly.value = word.read_only
      isRecording.value = word.recording
      phase.value = 'open'
      screen.resize(word.cols, word.rows)
      onReady(word.session)
    } else if (word.type === 'resize') screen.resize(word.cols, word.rows)
    else if (word.type === 'viewers') viewers.value = word.count
    else if (word.type === 'recording') isRecording.value = word.on
    else if (word.type === 'exit') {
      ended.value = word
      phase.value = 'ended'
    } else if (word.code) error.value = new ApiError(0, word.code, word.message)
  }

  function onClose(): void {
    if (isGone || phase.value === 'ended') return
    phase.value = 'broken'
    const isFinal = error.value instanceof ApiError && !PASSING.includes(error.value.code)
    if (!isFinal) retry = setTimeout(() => void open(), RETRY_MS)
  }

  /** The address to look at; null: the session is gone. It is asked for first, since a socket cannot say why not. */
  async function find(): Promise<string | null> {
    const { cols, rows } = size()
    if (wanted.share) return sharedUrl((await getShare(wanted.share)).id, cols, rows)
    const found = await listSessions(wanted.node)
    if (session.value && !found.items.some(({ id }) => id === session.value)) return null
    return lookUrl(wanted.node, {
      cols,
      rows,
      session: session.value,
      user: wanted.user,
      read_only: wanted.isReadOnly,
      record: wanted.isRecorded,
    })
  }

  async function open(): Promise<void> {
    clearTimeout(retry)
    error.value = null
    drawn = 0
    let address: string | null
    try {
      address = await find()
    } catch (problem) {
      error.value = problem
      return onClose()
    }
    if (isGone) return
    if (address === null) {
      ended.value = { exit_code: null, exit_signal: null }
      phase.value = 'ended'
      return
    }
    socket = new WebSocket(address)
    socket.binaryType = 'arraybuffer'
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) =>
      typeof data === 'string' ? hear(JSON.parse(data) as FromWorker) : draw(new Uint8Array(data))
    socket.onclose = onClose
  }

  function send(bytes: Uint8Array<ArrayBuffer>): void {
    if (socket?.readyState !== WebSocket.OPEN || isReadOnly.value) return
    for (const message of inMessages(bytes)) socket.send(message)
  }

  /** Alone, the person's window decides at once; else the worker tells what fits everybody. */
  function resize(cols: number, rows: number): void {
    if (viewers.value === 1 && phase.value === 'open') screen.resize(cols, rows)
    say({ type: 'resize', cols, rows })
  }

  const type = (text: string): void => send(encoder.encode(text))
  const typeBytes = (text: string): void => send(bytesOf(text))

  onScopeDispose(() => {
    isGone = true
    clearTimeout(retry)
    socket?.close()
  })
  return { phase, session, viewers, isReadOnly, isRecording, ended, error, open, type, typeBytes, resize }
}
