/** How far an installation is, how quickly it moves, and what may be done with it now. Pure. */
import { secondsLeft } from '@/shared/format'
import type { Progress, StatusChange, Task, TaskStatus } from './types'

/** Nothing moves any more by itself. */
const ENDED: readonly TaskStatus[] = ['completed', 'failed', 'rejected', 'cancelled']
const RETRIABLE: readonly TaskStatus[] = ['failed', 'rejected', 'cancelled', 'needs_operator']

export const isEnded = ({ status }: Pick<Task, 'status'>): boolean => ENDED.includes(status)

export type TaskAct = 'approve' | 'reject' | 'cancel' | 'retry' | 'remove'

/** The acts the state machine allows (contract, section 3); the server has the last word. */
export function actsOf({ status, is_cancel_asked }: Pick<Task, 'status' | 'is_cancel_asked'>): TaskAct[] {
  const acts: [TaskAct, boolean][] = [
    ['approve', status === 'pending_approval'],
    ['reject', status === 'pending_approval'],
    ['cancel', !ENDED.includes(status) && !is_cancel_asked],
    ['retry', RETRIABLE.includes(status)],
    ['remove', ENDED.includes(status)],
  ]
  return acts.filter(([, isPossible]) => isPossible).map(([act]) => act)
}

/** The step under way: the one that told something last. */
export function currentStep({ progress }: Pick<Task, 'progress'>): Progress | null {
  return progress.reduce<Progress | null>(
    (last, step) => (last === null || (step.at ?? '') >= (last.at ?? '') ? step : last),
    null,
  )
}

/** 0 to 100 of the step under way; null while there is none to show. */
export function percentOf(task: Pick<Task, 'status' | 'progress'>): number | null {
  if (task.status === 'completed') return 100
  return currentStep(task)?.percent ?? null
}

/** The road every installation goes; those it left for another end are not on it. */
export const ROAD: readonly TaskStatus[] = [
  'pending',
  'booting',
  'pending_approval',
  'approved',
  'installing',
  'completed',
]

export interface Stage {
  status: TaskStatus
  /** The last move into it in this attempt; null: not been there. */
  move: StatusChange | null
  state: 'done' | 'now' | 'ahead' | 'skipped'
}

/** The road with where the task has been since it began anew, and its end where that lies beside the road. */
export function stagesOf({
  status,
  status_history: history,
}: Pick<Task, 'status' | 'status_history'>): Stage[] {
  const begun = history.map((move) => move.status).lastIndexOf('pending')
  const moves = new Map(history.slice(Math.max(0, begun)).map((move) => [move.status, move]))
  const road = ROAD.includes(status) ? ROAD : [...ROAD.filter((one) => moves.has(one)), status]
  const here = road.indexOf(status)
  return road.map((one, place) => {
    const move = moves.get(one) ?? null
    const passed = move ? 'done' : 'skipped'
    return { status: one, move, state: place === here ? 'now' : place < here ? passed : 'ahead' }
  })
}

/** How many samples the rate is taken of, and how old the oldest may be. */
const WINDOW_MS = 10_000

interface Sample {
  atMs: number
  bytes: number
}

/** Bytes a second of the last ten seconds, from what the agent said and when it said it. */
export class RateMeter {
  private samples: Sample[] = []
  private step = ''

  /** Take what is known of a step now; returns bytes a second, null while it cannot be told. */
  note({ step, at, bytes_done: bytes }: Progress): number | null {
    if (bytes === null || at === null) return null
    if (step !== this.step) this.samples = []
    this.step = step
    const atMs = Date.parse(at)
    const last = this.samples.at(-1)
    if (last && bytes < last.bytes) this.samples = []
    if (!last || atMs > last.atMs) this.samples.push({ atMs, bytes })
    this.samples = this.samples.filter((sample) => atMs - sample.atMs <= WINDOW_MS)
    return this.rate()
  }

  private rate(): number | null {
    const [first, last] = [this.samples[0], this.samples.at(-1)]
    if (!first || !last || last.atMs <= first.atMs) return null
    return (1000 * (last.bytes - first.bytes)) / (last.atMs - first.atMs)
  }
}

export function timeLeft({ bytes_done, bytes_total }: Progress, rate: number | null): number | null {
  return rate === null ? null : secondsLeft(bytes_done ?? 0, bytes_total ?? 0, rate)
}
