/** Several series as rows of cells of equal time. Pure. */
import { indexFrom, type Cell, type Curves, type Span } from './series'

/** Row by row, `columns` cells each: the highest mean within the cell's time, null where nothing is known. */
export function cellsOf(curves: Curves, { fromS, toS }: Span, names: string[], columns: number): Cell[] {
  const cells = Array<Cell>(names.length * columns).fill(null)
  const rows = names.map((name) => curves.rows[name]?.avg)
  const perS = columns / (toS - fromS)
  for (let index = indexFrom(curves.times, fromS); index < curves.times.length; index += 1) {
    const at = curves.times[index] ?? Infinity
    if (at > toS) break
    const first = Math.min(columns - 1, Math.floor((at - fromS) * perS))
    const last = Math.min(columns, Math.max(first + 1, Math.floor((at + curves.stepS - fromS) * perS)))
    rows.forEach((row, place) => fill(cells, row?.[index] ?? null, place * columns + first, last - first))
  }
  return cells
}

function fill(cells: Cell[], value: Cell, from: number, count: number): void {
  if (value === null) return
  for (let place = from; place < from + count; place += 1)
    cells[place] = Math.max(value, cells[place] ?? -Infinity)
}

/** `#2563eb` as its three parts. */
export function rgbOf(hex: string): [number, number, number] {
  const bits = Number.parseInt(hex.slice(1), 16)
  return [(bits >> 16) & 255, (bits >> 8) & 255, bits & 255]
}
