/** Points of several series on one time axis, as charts draw them. Pure; `Curves` grow in place, once a second. */
import type { Series } from '@/api/types'

/** A value, or null: nothing is known, the line is broken there. */
export type Cell = number | null

export interface Row {
  avg: Cell[]
  max: Cell[]
}

export interface Curves {
  /** Unix seconds, ascending. All rows are as long as this. */
  times: number[]
  rows: Record<string, Row>
  /** Seconds between two points where nothing is missing. */
  stepS: number
}

/** A part of time, Unix seconds. */
export interface Span {
  fromS: number
  toS: number
}

export const noCurves = (stepS = 1): Curves => ({ times: [], rows: {}, stepS })

/** Seconds without a point after which a line is broken: a gap is shown as a gap. */
const gapOf = (stepS: number): number => Math.max(3.5, 2.5 * stepS)

type Cells = Record<string, readonly [avg: number, max: number]>

/** Append one moment to all rows; an empty moment before it where time is missing. */
function push(curves: Curves, at: number, cells: Cells): void {
  const { times, rows, stepS } = curves
  const last = times.at(-1)
  if (last !== undefined && at - last > gapOf(stepS)) push(curves, last + stepS, {})
  for (const name of Object.keys(cells)) {
    const nothing = times.length
    rows[name] ??= { avg: Array<Cell>(nothing).fill(null), max: Array<Cell>(nothing).fill(null) }
  }
  times.push(at)
  for (const [name, row] of Object.entries(rows)) {
    const cell = cells[name]
    row.avg.push(cell?.[0] ?? null)
    row.max.push(cell?.[1] ?? null)
  }
}

/** The server's points, which stand one list a series, moment by moment. */
function momentsOf(series: Series): [number, Cells][] {
  const moments = new Map<number, Cells>()
  for (const [name, points] of Object.entries(series))
    for (const [at, avg, max] of points) {
      const cells = moments.get(at) ?? {}
      cells[name] = [avg, max]
      moments.set(at, cells)
    }
  return [...moments].sort(([a], [b]) => a - b)
}

export function curvesOf(series: Series, stepS: number): Curves {
  const curves = noCurves(stepS)
  for (const [at, cells] of momentsOf(series)) push(curves, at, cells)
  return curves
}

/** The newest part anew: what `series` covers takes the place of what was known from there on. */
export function replaceTail(curves: Curves, series: Series): void {
  const moments = momentsOf(series)
  const first = moments[0]?.[0]
  if (first === undefined) return
  cut(curves, indexFrom(curves.times, first), Infinity)
  for (const [at, cells] of moments) push(curves, at, cells)
}

/** Append the newest second; one that is not newer is dropped. */
export function appendMoment(curves: Curves, atS: number, values: Record<string, Cell>): void {
  if (atS <= (curves.times.at(-1) ?? -Infinity)) return
  const known = Object.entries(values).flatMap(([name, value]) =>
    value === null ? [] : [[name, [value, value]] as const],
  )
  push(curves, atS, Object.fromEntries(known))
}

/** Forget what is older, and series of which nothing is left. Waits until a tenth is old: arrays move as a whole. */
export function forgetBefore(curves: Curves, atS: number): void {
  const old = indexFrom(curves.times, atS)
  if (old <= 60 || old <= curves.times.length / 10) return
  cut(curves, 0, old)
  // Interfaces and disks of containers come and go all day.
  const isLeft = ([, { max }]: [string, Row]): boolean => max.some((cell) => cell !== null)
  curves.rows = Object.fromEntries(Object.entries(curves.rows).filter(isLeft))
}

function cut({ times, rows }: Curves, start: number, count: number): void {
  times.splice(start, count)
  for (const { avg, max } of Object.values(rows)) {
    avg.splice(start, count)
    max.splice(start, count)
  }
}

/** The index of the first time that is not before `atS`. */
export function indexFrom(times: number[], atS: number): number {
  let low = 0
  let high = times.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((times[middle] ?? 0) < atS) low = middle + 1
    else high = middle
  }
  return low
}

/** The newest value of a series, whatever came last. */
export function newestOf(curves: Curves, name: string): Cell {
  return curves.rows[name]?.avg.at(-1) ?? null
}

/** The largest value within a span; null where nothing is known. */
export function highestOf(curves: Curves, name: string, { fromS, toS }: Span): Cell {
  const row = curves.rows[name]
  if (!row) return null
  let highest: Cell = null
  for (let index = indexFrom(curves.times, fromS); (curves.times[index] ?? Infinity) <= toS; index += 1) {
    const value = row.max[index] ?? null
    if (value !== null && (highest === null || value > highest)) highest = value
  }
  return highest
}
