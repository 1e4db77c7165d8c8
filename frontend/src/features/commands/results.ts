/** One node's part of a run, put together from what was read, what was told since, and the operation. Pure. */
import type { CommandResult, OperationTarget } from '@/api/types'

const ENDED = ['succeeded', 'failed', 'cancelled']
const TAIL_BYTES = 16 * 1024

export const isEnded = (state: string): boolean => ENDED.includes(state)

/** What has ended stays; before, the newest word counts, and how far it is the operation knows first. */
export function mergeResult(
  read: CommandResult,
  told: CommandResult | undefined,
  target: OperationTarget | undefined,
): CommandResult {
  const newest = isEnded(read.state) ? read : (told ?? read)
  return isEnded(newest.state) || !target ? newest : { ...newest, state: target.state }
}

/** Is this perhaps not all it said? A tail shorter than a tail's length is the whole. */
export function isCut(result: CommandResult): boolean {
  const size = (text: string): number => new TextEncoder().encode(text).length
  return result.is_tail && [result.stdout, result.stderr].some((text) => size(text) >= TAIL_BYTES)
}

/** The last line that says something, for a folded result. */
export function lastLine({ stdout, stderr }: CommandResult): string {
  return (stdout.trimEnd() || stderr.trimEnd()).split('\n').at(-1) ?? ''
}

/** How many results stand in each state, in the order in which a run goes through them. */
export function countStates(results: CommandResult[]): { state: string; count: number }[] {
  const counts = new Map<string, number>()
  for (const { state } of results) counts.set(state, (counts.get(state) ?? 0) + 1)
  return ['pending', 'running', ...ENDED].flatMap((state) => {
    const count = counts.get(state)
    return count ? [{ state, count }] : []
  })
}
