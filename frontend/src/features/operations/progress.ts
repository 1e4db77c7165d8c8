/** How far an operation is. Pure. */
import type { Operation, OperationTarget } from '@/api/types'

export const ENDED = ['succeeded', 'failed', 'cancelled']

export const isEnded = (operation: Operation): boolean => ENDED.includes(operation.state)

/** Rollouts go wave by wave; the parts of everything else go out together. */
export const canPause = (operation: Operation): boolean =>
  operation.kind === 'module.rollout' && !isEnded(operation)

/** Targets that have ended, of all. */
export function doneTargets(targets: OperationTarget[]): { done: number; total: number } {
  return { done: targets.filter(({ state }) => ENDED.includes(state)).length, total: targets.length }
}

/** A text that is another one whenever a target or the whole is in another state or step. */
export const changesOf = ({ state, targets }: Operation): string =>
  [state, ...targets.map((target) => `${target.state}:${target.step}`)].join(' ')

/** Seconds until the slowest target that moves bytes has them all; null when none says. */
export function timeLeft(operation: Operation): number | null {
  if (isEnded(operation)) return null
  const known = operation.targets
    .filter(({ state }) => state === 'running')
    .map(({ eta_s }) => eta_s)
    .filter((eta) => eta !== null)
  return known.length > 0 ? Math.ceil(Math.max(...known)) : null
}

/** 0 to 100. A target counts by its steps, inside a step by its bytes. */
export function percentOf(operation: Operation): number {
  if (isEnded(operation)) return 100
  if (operation.targets.length === 0) return 0
  const names = operation.steps.map(({ name }) => name)
  const shares = operation.targets.map((target) => {
    if (ENDED.includes(target.state)) return 1
    const place = names.indexOf(target.step)
    if (place < 0) return 0
    const inside = target.bytes_total > 0 ? target.bytes_done / target.bytes_total : 0
    return (place + inside) / names.length
  })
  return (100 * shares.reduce((sum, share) => sum + share, 0)) / shares.length
}
