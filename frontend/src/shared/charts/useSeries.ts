/**
 * The series of one node or instance over the chosen time: read once, then the newest second by the live link
 * (short ranges) or the newest part asked again every now and then (long ones). A zoom stands still.
 */
import { onScopeDispose, ref, shallowRef, watch, type Ref, type ShallowRef } from 'vue'
import { http } from '@/api/http'
import type { Metrics } from '@/api/types'
import { useTopic } from '@/stores/live'
import { stepFor, type TimeRange } from './ranges'
import { appendMoment, curvesOf, forgetBefore, noCurves, replaceTail, type Curves, type Span } from './series'

export interface LiveSeries {
  /** Grows in place; `view` is new whenever it has. */
  curves: ShallowRef<Curves>
  view: ShallowRef<Span>
  isReady: Ref<boolean>
  error: ShallowRef<unknown>
  reload: () => Promise<void>
}

/** What is asked again of a long range: at most this often. */
const LEAST_REFRESH_S = 10
/** This browser's clock may differ from the server's by this much before it matters. */
const SKEW_S = 5

type Moment = { at_s: number; values: Record<string, number | null> }

class Reader {
  readonly curves = shallowRef(noCurves())
  readonly view = shallowRef<Span>({ fromS: 0, toS: 1 })
  readonly isReady = ref(false)
  readonly error = shallowRef<unknown>(null)
  private asked = 0
  private isLoading = false
  private skewS = 0
  private isClockKnown = false
  private early: Moment[] = []
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(
    private readonly path: string,
    private readonly range: TimeRange,
  ) {}

  get isLive(): boolean {
    return this.range.zoom.value === null && this.curves.value.stepS === 1 && this.range.rangeS.value <= 900
  }

  private nowS(): number {
    return Date.now() / 1000 + this.skewS
  }

  private wanted(): Span {
    const nowS = this.nowS()
    return this.range.zoom.value ?? { fromS: nowS - this.range.rangeS.value, toS: nowS }
  }

  private ask(fromS: number, toS: number | null, stepS: number): Promise<Metrics> {
    const to = toS === null ? undefined : Math.ceil(toS)
    return http.get<Metrics>(this.path, { series: '*', from: Math.floor(fromS), to, step_s: stepS })
  }

  /** Read all of the chosen time anew. */
  reload = async (): Promise<void> => {
    const mine = ++this.asked
    this.early = []
    this.isLoading = true
    clearTimeout(this.timer)
    try {
      const span = this.wanted()
      const stepS = stepFor(span, this.nowS())
      const answer = await this.ask(span.fromS, this.range.zoom.value?.toS ?? null, stepS)
      if (mine !== this.asked) return
      const isOff = this.learn(answer)
      if (isOff) return await this.reload()
      this.show(curvesOf(answer.series, answer.step_s))
    } catch (problem) {
      if (mine === this.asked) this.error.value = problem
    }
    if (mine === this.asked) this.isLoading = false
    this.schedule(mine)
  }

  /** The server's clock, by an answer that ends now. True: what was asked was asked by a wrong clock. */
  private learn(answer: Metrics): boolean {
    if (this.range.zoom.value || this.isClockKnown) return false
    this.isClockKnown = true
    const offS = answer.to - this.nowS()
    if (Math.abs(offS) <= SKEW_S) return false
    this.skewS += offS
    return true
  }

  private show(curves: Curves): void {
    this.curves.value = curves
    for (const { at_s: atS, values } of this.early) appendMoment(curves, atS, values)
    this.early = []
    this.error.value = null
    this.isReady.value = true
    this.look()
  }

  /** The window ends with the newest second of a live range, with now of a long one. */
  private look(): void {
    const zoom = this.range.zoom.value
    const newest = this.curves.value.times.at(-1)
    const isHeard = newest !== undefined && newest > this.nowS() - LEAST_REFRESH_S
    const toS = this.isLive && isHeard ? newest : this.nowS()
    this.view.value = zoom ? { ...zoom } : { fromS: toS - this.range.rangeS.value, toS }
  }

  /** Take a second that the link tells. */
  take(moment: Moment): void {
    if (this.isLoading) this.early.push(moment)
    if (!this.isReady.value || !this.isLive) return
    appendMoment(this.curves.value, moment.at_s, moment.values)
    forgetBefore(this.curves.value, moment.at_s - this.range.rangeS.value - 2)
    this.look()
  }

  private schedule(mine: number): void {
    if (mine !== this.asked || this.range.zoom.value || (this.isLive && !this.error.value)) return
    const afterS = Math.max(LEAST_REFRESH_S, Math.min(60, this.curves.value.stepS))
    this.timer = setTimeout(() => void this.refresh(mine), afterS * 1000)
  }

  /** Ask for what is newer than the last whole step. */
  private async refresh(mine: number): Promise<void> {
    const { times, stepS } = this.curves.value
    const newest = times.at(-1)
    if (newest === undefined || this.error.value) return this.reload()
    try {
      const answer = await this.ask(newest - stepS, null, stepS)
      if (mine !== this.asked) return
      replaceTail(this.curves.value, answer.series)
      forgetBefore(this.curves.value, this.nowS() - this.range.rangeS.value - 2 * stepS)
      this.look()
    } catch (problem) {
      if (mine === this.asked) this.error.value = problem
    }
    this.schedule(mine)
  }

  stop(): void {
    this.asked += 1
    clearTimeout(this.timer)
  }
}

/** `path` answers the query, `topic` tells each second; both as long as the calling component lives. */
export function useSeries(path: string, topic: string, range: TimeRange): LiveSeries {
  const reader = new Reader(path, range)
  let snapshots = 0
  useTopic(topic, (frame) => {
    if (frame.type === 'change') reader.take(frame.data as Moment)
    // The first look is ours already; a later one says that seconds were missed.
    else if (frame.type === 'snapshot' && frame.part === 0 && ++snapshots > 1) void reader.reload()
  })
  watch([range.rangeS, range.zoom], () => void reader.reload())
  onScopeDispose(() => reader.stop())
  void reader.reload()
  const { curves, view, isReady, error, reload } = reader
  return { curves, view, isReady, error, reload }
}
