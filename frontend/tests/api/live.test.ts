import { beforeEach, describe, expect, it } from 'vitest'
import { LiveLink, type Frame, type LinkState, type SocketLike } from '@/api/live'

class FakeSocket implements SocketLike {
  sent: Record<string, unknown>[] = []
  isClosed = false
  onopen: (() => void) | null = null
  onmessage: ((event: { data: string }) => void) | null = null
  onclose: (() => void) | null = null
  send(text: string): void {
    this.sent.push(JSON.parse(text) as Record<string, unknown>)
  }
  close(): void {
    this.isClosed = true
  }
  tell(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) })
  }
}

/** A clock and its timers, moved by hand. */
class FakeTime {
  now = 1_000_000
  private timers: { at: number; run: () => void }[] = []
  after = (delay: number, run: () => void): (() => void) => {
    const timer = { at: this.now + delay, run }
    this.timers.push(timer)
    return () => void (this.timers = this.timers.filter((other) => other !== timer))
  }
  pass(ms: number): void {
    const end = this.now + ms
    for (;;) {
      const next = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (!next) break
      this.now = next.at
      this.timers = this.timers.filter((other) => other !== next)
      next.run()
    }
    this.now = end
  }
}

const change = (seq: number, epoch = 'e1'): object => ({
  topic: 'nodes',
  type: 'change',
  seq,
  epoch,
  part: 0,
  last: true,
  data: {},
})

let time: FakeTime
let sockets: FakeSocket[]
let frames: Frame[]
let states: LinkState[]
let link: LiveLink
const socket = (): FakeSocket => sockets.at(-1) as FakeSocket
const phase = (): string => states.at(-1)?.phase ?? ''

beforeEach(() => {
  time = new FakeTime()
  sockets = []
  frames = []
  states = []
  const open = (): SocketLike => {
    sockets.push(new FakeSocket())
    return socket()
  }
  const around = { now: () => time.now, random: () => 0.5, after: time.after, open }
  link = new LiveLink(
    around,
    (frame) => frames.push(frame),
    (state) => states.push(state),
  )
  link.start()
  link.want(['nodes'])
  socket().onopen?.()
})

describe('the live link', () => {
  it('subscribes to the complete set', () => {
    link.want(['nodes', 'instances'])
    expect(socket().sent.map(({ subscribe }) => subscribe)).toEqual([['nodes'], ['nodes', 'instances']])
    expect(phase()).toBe('live')
  })

  it('drops a change it has already', () => {
    socket().tell(change(4))
    socket().tell(change(4))
    socket().tell(change(5))
    expect(frames.map(({ seq }) => seq)).toEqual([4, 5])
  })

  it('takes a lower number of another epoch', () => {
    socket().tell(change(40))
    socket().tell(change(1, 'e2'))
    expect(frames).toHaveLength(2)
  })

  it('ignores a topic nobody wants any more', () => {
    link.want([])
    socket().tell(change(4))
    expect(frames).toEqual([])
  })

  it('comes back by itself and resumes where it was', () => {
    socket().tell(change(12))
    socket().onclose?.()
    expect(phase()).toBe('reconnecting')
    time.pass(10_000)
    expect(sockets).toHaveLength(2)
    socket().onopen?.()
    expect(socket().sent[0]).toEqual({ subscribe: ['nodes'], resume: { nodes: { epoch: 'e1', seq: 12 } } })
    expect(phase()).toBe('live')
  })

  it('waits longer after each failure, never more than 10 s', () => {
    const waits: number[] = []
    for (let round = 0; round < 6; round += 1) {
      socket().onclose?.()
      waits.push((states.at(-1)?.nextTryAt ?? 0) - time.now)
      time.pass(10_000)
    }
    expect(waits).toEqual([1500, 2500, 4500, 5500, 5500, 5500])
  })

  it('calls itself stale after a while, with the time of the last word', () => {
    const lastWord = time.now
    socket().onclose?.()
    for (let round = 0; round < 4; round += 1) {
      time.pass(10_000)
      socket().onclose?.()
    }
    expect(states.at(-1)).toMatchObject({ phase: 'stale', since: lastWord })
  })

  it('pings a quiet link and replaces a silent one', () => {
    time.pass(5_000)
    expect(socket().sent.at(-1)).toEqual({ ping: 1 })
    socket().tell({ pong: 1 })
    time.pass(5_000)
    expect(sockets).toHaveLength(1)
    const old = socket()
    time.pass(30_000)
    expect(old.isClosed).toBe(true)
    expect(sockets.length).toBeGreaterThan(1)
  })

  it('stays down once stopped', () => {
    link.stop()
    time.pass(60_000)
    expect(sockets).toHaveLength(1)
    expect(socket().isClosed).toBe(true)
  })
})
