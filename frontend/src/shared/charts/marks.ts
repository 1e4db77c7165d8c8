/** What happened while the lines were drawn: restarts, deployments, alerts; and levels drawn across. Pure. */
import type { Alert, InstanceEvent, Operation } from '@/api/types'
import type { Tone } from '../states'
import type { Span } from './series'

/** Something that happened, as a mark on the time axis. */
export interface Mark {
  /** Unix seconds. */
  at: number
  tone: Tone
  text: string
}

/** A value of the chart that means something, as a line across. */
export interface Level {
  value: number
  tone: Tone
  label: string
}

const secondsOf = (stamp: string): number => Date.parse(stamp) / 1000

const TONES: Record<string, Tone> = { failed: 'bad', cancelled: 'idle', running: 'busy', pending: 'busy' }

/** When operations began that worked on what `isOf` says, each with its end's tone. */
export function marksOfOperations(
  operations: Iterable<Operation>,
  isOf: (target: Operation['targets'][number]) => boolean,
  titleOf: (operation: Operation) => string,
): Mark[] {
  return [...operations]
    .filter(({ kind, targets }) => !kind.startsWith('exec') && targets.some(isOf))
    .map((operation) => ({
      at: secondsOf(operation.created_at),
      tone: TONES[operation.state] ?? 'ok',
      text: titleOf(operation),
    }))
}

const ENDS: Record<string, Tone> = { backoff: 'warn', failed: 'bad', exited: 'idle' }

/** The ends an instance came to by itself, and its returns to health. */
export function marksOfEvents(events: InstanceEvent[], textOf: (event: InstanceEvent) => string): Mark[] {
  return events
    .filter(({ kind, state, health }) => (kind === 'health' ? health === 'unhealthy' : state in ENDS))
    .map((event) => ({
      at: secondsOf(event.at),
      tone: event.kind === 'health' ? 'warn' : (ENDS[event.state] ?? 'warn'),
      text: textOf(event),
    }))
}

const SEVERITY_TONES: Record<Alert['severity'], Tone> = { critical: 'bad', warning: 'warn', info: 'busy' }

/** When alerts began to fire. */
export function marksOfAlerts(alerts: Iterable<Alert>, isOf: (alert: Alert) => boolean): Mark[] {
  return [...alerts]
    .filter(isOf)
    .flatMap(({ fired_at: firedAt, severity, rule_name, subject_name }) =>
      firedAt
        ? [{ at: secondsOf(firedAt), tone: SEVERITY_TONES[severity], text: `${rule_name}: ${subject_name}` }]
        : [],
    )
}

/** Those within a span, the oldest first; of many at one place the newest stay. */
export function visibleMarks(marks: readonly Mark[], { fromS, toS }: Span, most = 40): Mark[] {
  return marks
    .filter(({ at }) => at >= fromS && at <= toS)
    .sort((a, b) => a.at - b.at)
    .slice(-most)
}

/** The mark nearest to a moment within `reachS`. */
export function markNear(marks: readonly Mark[], atS: number, reachS: number): Mark | null {
  let nearest: Mark | null = null
  for (const mark of marks) {
    const away = Math.abs(mark.at - atS)
    if (away <= reachS && (!nearest || away <= Math.abs(nearest.at - atS))) nearest = mark
  }
  return nearest
}
