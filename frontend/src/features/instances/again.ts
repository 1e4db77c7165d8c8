/** How often an instance came back of late. Pure. */
import type { InstanceEvent } from '@/api/types'

/** Seconds since the first of the last `count` restarts; null while the timeline does not reach back so far. */
export function spanOf(events: InstanceEvent[], count: number, nowMs: number): number | null {
  const restarts = events.filter(({ reason }) => reason?.code === 'backoff')
  const first = count > 0 ? restarts.at(-count) : undefined
  return first ? Math.max(0, (nowMs - Date.parse(first.at)) / 1000) : null
}

/** Seconds until `at`; never negative. */
export function secondsUntil(at: string | null | undefined, nowMs: number): number | null {
  return at ? Math.max(0, (Date.parse(at) - nowMs) / 1000) : null
}
