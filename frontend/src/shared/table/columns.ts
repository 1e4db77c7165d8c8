/** What a table column is, and how rows keep their places while their values live. Pure. */
import { compareText } from '../collate'

export interface Column<T> {
  id: string
  label: string
  /** A CSS grid track, e.g. `minmax(160px, 2fr)`. */
  width: string
  isNumber?: boolean
  /** What the column is sorted by; without it the header is no button. */
  sortBy?: (row: T) => string | number | null | undefined
  /** Stays at the right edge: row actions. */
  isPinned?: boolean
  /** Not shown until somebody chooses it. */
  isOptional?: boolean
}

function compare(a: string | number | null | undefined, b: string | number | null | undefined): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  return compareText(String(a), String(b))
}

/** Sorted by `sort` (`cpu`, `-cpu`); rows without a value come last either way. */
export function sortRows<T>(rows: T[], columns: Column<T>[], sort: string): T[] {
  const isDown = sort.startsWith('-')
  const read = columns.find((column) => column.id === sort.replace(/^-/, ''))?.sortBy
  if (!read) return rows
  return [...rows].sort((x, y) => {
    const [a, b] = [read(x), read(y)]
    if (a === null || a === undefined) return b === null || b === undefined ? 0 : 1
    if (b === null || b === undefined) return -1
    return isDown ? -compare(a, b) : compare(a, b)
  })
}

/** The pixels the columns need at least: `minmax(160px, 2fr)` needs 160. */
export function leastWidthOf<T>(columns: Column<T>[]): number {
  return columns.reduce((sum, { width }) => sum + Number(/(\d+)px/.exec(width)?.[1] ?? 0), 0)
}

/** Rows in the order they had in `before` (keys); those that are new follow, in the order given. */
export function keepOrder<T>(rows: T[], keyOf: (row: T) => string, before: Map<string, number>): T[] {
  const place = (row: T): number => before.get(keyOf(row)) ?? before.size
  return [...rows].sort((a, b) => place(a) - place(b))
}
