/** The live socket: topics wanted, snapshots and changes in order, resume, staleness. Knows nothing of Vue. */

export interface Frame {
  topic: string
  type: 'snapshot' | 'change' | 'error'
  seq: number
  epoch: string
  part: number
  last: boolean
  data: unknown
}

export type LinkPhase = 'connecting' | 'live' | 'reconnecting' | 'stale'

/** What the top bar shows. `since` is when the last message came; `nextTryAt` when the next attempt starts (ms). */
export interface LinkState {
  phase: LinkPhase
  since: number
  nextTryAt: number
}

export interface SocketLike {
  send: (text: string) => void
  close: () => void
  onopen: (() => void) | null
  onmessage: ((event: { data: string }) => void) | null
  onclose: (() => void) | null
}

/** Clock, dice, timers and sockets are arguments, so that a test can hold them. */
export interface Surroundings {
  now: () => number
  random: () => number
  after: (delayMs: number, run: () => void) => () => void
  open: () => SocketLike
}

const PING_MS = 5_000
const SILENCE_MS = 12_000
const FIRST_RETRY_MS = 1_000
const LAST_RETRY_MS = 10_000
const STALE_AFTER_MS = 15_000

export class LiveLink {
  private socket: SocketLike | null = null
  private topics = new Set<string>()
  private positions = new Map<string, { epoch: string; seq: number }>()
  private attempt = 0
  private isOpen = false
  private lastHeard: number
  private cancelTimer: () => void = () => undefined
  private cancelTick: () => void = () => undefined
  private isStopped = true
  private nextTryAt = 0
  private pings = 0
  private triedAt = 0

  constructor(
    private readonly around: Surroundings,
    private readonly onFrame: (frame: Frame) => void,
    private readonly onState: (state: LinkState) => void,
  ) {
    this.lastHeard = around.now()
  }

  start(): void {
    if (!this.isStopped) return
    this.isStopped = false
    this.lastHeard = this.around.now()
    this.connect()
    this.tick()
  }

  stop(): void {
    this.isStopped = true
    this.cancelTimer()
    this.cancelTick()
    this.drop()
    this.positions.clear()
  }

  /** State the complete set of topics wanted from now on. */
  want(topics: Iterable<string>): void {
    this.topics = new Set(topics)
    for (const topic of this.positions.keys()) if (!this.topics.has(topic)) this.positions.delete(topic)
    if (this.isOpen) this.subscribe({})
  }

  private connect(): void {
    this.triedAt = this.around.now()
    this.report('connecting')
    const socket = this.around.open()
    this.socket = socket
    socket.onopen = () => this.opened(socket)
    socket.onmessage = (event) => this.heard(socket, event.data)
    socket.onclose = () => this.closed(socket)
  }

  private opened(socket: SocketLike): void {
    if (socket !== this.socket) return
    this.isOpen = true
    this.lastHeard = this.around.now()
    this.subscribe(Object.fromEntries(this.positions))
    this.report('live')
  }

  private subscribe(resume: Record<string, { epoch: string; seq: number }>): void {
    this.socket?.send(JSON.stringify({ subscribe: [...this.topics], resume }))
  }

  private heard(socket: SocketLike, text: string): void {
    if (socket !== this.socket) return
    this.lastHeard = this.around.now()
    this.attempt = 0
    this.report('live')
    const frame = JSON.parse(text) as Partial<Frame>
    if (frame.topic === undefined || !this.topics.has(frame.topic)) return
    if (this.accept(frame as Frame)) this.onFrame(frame as Frame)
  }

  /** A change that is not newer than what we have is dropped; a snapshot starts the count anew. */
  private accept(frame: Frame): boolean {
    if (frame.type === 'error') return true
    const position = this.positions.get(frame.topic)
    const isRepeat = frame.type === 'change' && position?.epoch === frame.epoch && frame.seq <= position.seq
    if (isRepeat) return false
    if (frame.last !== false) this.positions.set(frame.topic, { epoch: frame.epoch, seq: frame.seq })
    return true
  }

  private closed(socket: SocketLike): void {
    if (socket !== this.socket || this.isStopped) return
    this.drop()
    this.attempt += 1
    const ceiling = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.attempt)
    const delay = FIRST_RETRY_MS + this.around.random() * (ceiling - FIRST_RETRY_MS)
    this.nextTryAt = this.around.now() + delay
    this.report('reconnecting')
    this.cancelTimer = this.around.after(delay, () => this.connect())
  }

  private drop(): void {
    const socket = this.socket
    this.socket = null
    this.isOpen = false
    socket?.close()
  }

  /** Every 5 s: ping; a link that is silent, or does not open, is closed and tried again. */
  private tick(): void {
    this.cancelTick = this.around.after(PING_MS, () => {
      const quietSince = Math.max(this.lastHeard, this.triedAt)
      if (this.socket && this.around.now() - quietSince > SILENCE_MS) this.closed(this.socket)
      else if (this.isOpen) this.socket?.send(JSON.stringify({ ping: ++this.pings }))
      else this.report('reconnecting')
      this.tick()
    })
  }

  private report(phase: LinkPhase): void {
    const isLate = phase !== 'live' && this.around.now() - this.lastHeard > STALE_AFTER_MS
    this.onState({ phase: isLate ? 'stale' : phase, since: this.lastHeard, nextTryAt: this.nextTryAt })
  }
}
