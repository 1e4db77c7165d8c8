/** Points of several series as the columns a chart draws. Pure. */
import type { Point, Series } from '@/api/types'

/** Seconds without a point after which a line is broken: a gap is shown as a gap. */
const GAP_S = 3.5

/** uPlot's shape: times, then one row of values a series; null is a gap. */
export type Columns = [number[], ...(number | null)[][]]

/** Merge series on one time axis from `fromS` on. A pause longer than the gap limit gets a null between. */
export function toColumns(lists: Point[][], fromS: number, gapS = GAP_S): Columns {
  const times = new Set<number>()
  for (const list of lists) for (const [at] of list) if (at >= fromS) times.add(at)
  const sorted = [...times].sort((a, b) => a - b)
  const axis = sorted.flatMap((at, index) => {
    const before = sorted[index - 1]
    return before !== undefined && at - before > gapS ? [before + 0.001, at] : [at]
  })
  const rows = lists.map((list) => {
    const values = new Map(list.map(([at, average]) => [at, average]))
    return axis.map((at) => values.get(at) ?? null)
  })
  return [axis, ...rows]
}

/** Append one moment to every series named, and forget what is older than `keepS`. Returns new lists. */
export function appendMoment(
  series: Series,
  atS: number,
  values: Record<string, number | null>,
  keepS: number,
): Series {
  const next: Series = { ...series }
  for (const [name, value] of Object.entries(values)) {
    if (value === null) continue
    const list = next[name] ?? []
    const lastAt = list.at(-1)?.[0] ?? -Infinity
    if (atS <= lastAt) continue
    const start = list.findIndex(([at]) => at >= atS - keepS)
    next[name] = [...(start > 0 ? list.slice(start) : list), [atS, value, value]]
  }
  return next
}
