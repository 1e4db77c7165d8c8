/** What happened last: operations and alerts in one list, and how a system fares as a whole. Pure. */
import type { Alert, Instance, Operation } from '@/api/types'
import { isFiring, sinceOf } from '@/shared/alerts/rules'

export type LastEvent =
  { kind: 'operation'; at: string; operation: Operation } | { kind: 'alert'; at: string; alert: Alert }

/** The newest first. A pending alert is no event yet. */
export function lastEvents(
  operations: Iterable<Operation>,
  alerts: Iterable<Alert>,
  most: number,
): LastEvent[] {
  const told = [...alerts].filter(
    (alert) => isFiring(alert) || (alert.state === 'resolved' && alert.fired_at),
  )
  return [
    ...[...operations].map((operation) => ({
      kind: 'operation' as const,
      at: operation.updated_at,
      operation,
    })),
    ...told.map((alert) => ({ kind: 'alert' as const, at: alert.resolved_at ?? sinceOf(alert), alert })),
  ]
    .sort((a, b) => b.at.localeCompare(a.at))
    .slice(0, most)
}

/** The states of instances, the one that wants most attention first. */
const WORST_FIRST = [
  'failed',
  'backoff',
  'unknown',
  'starting',
  'preparing',
  'pending',
  'stopping',
  'exited',
  'running',
  'stopped',
]

/** How many systems there are by the worst state among their instances; those without any are not counted. */
export function systemStates(instances: Iterable<Instance>): Record<string, number> {
  const worst = new Map<string, number>()
  for (const { system_id: system, state } of instances) {
    const rank = WORST_FIRST.indexOf(state)
    worst.set(system, Math.min(worst.get(system) ?? rank, rank))
  }
  const counts: Record<string, number> = {}
  for (const rank of worst.values()) {
    const state = WORST_FIRST[rank] ?? 'unknown'
    counts[state] = (counts[state] ?? 0) + 1
  }
  return counts
}
