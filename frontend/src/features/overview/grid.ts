/** Where the cells of the fleet grid stand and how they are painted. Pure but for the pen. */
import type { Node } from '@/api/types'

export interface Layout {
  count: number
  columns: number
  cell: number
  gap: number
  height: number
}

/** The largest of a few cell sizes that keeps the grid low; a small fleet gets large cells. */
export function layOut(count: number, width: number): Layout {
  const wishes = [36, 28, 22, 16, 12, 9]
  const gap = 3
  const most = 170
  const fits = (cell: number): boolean => Math.ceil(count / columnsOf(cell)) * (cell + gap) <= most
  const columnsOf = (cell: number): number => Math.max(1, Math.floor((width + gap) / (cell + gap)))
  const cell = wishes.find(fits) ?? 9
  const columns = columnsOf(cell)
  return { count, columns, cell, gap, height: Math.max(1, Math.ceil(count / columns)) * (cell + gap) }
}

/** The index of the cell at a point, -1 outside. */
export function cellAt({ count, columns, cell, gap }: Layout, x: number, y: number): number {
  const column = Math.floor(x / (cell + gap))
  const index = Math.floor(y / (cell + gap)) * columns + column
  return column < columns && index < count && index >= 0 ? index : -1
}

/** The upper left corner of a cell. */
export function cornerOf({ columns, cell, gap }: Layout, index: number): { x: number; y: number } {
  return { x: (index % columns) * (cell + gap), y: Math.floor(index / columns) * (cell + gap) }
}

/** The cell the keyboard goes to from one, the same where there is none. */
export function cellBeside({ count, columns }: Layout, index: number, key: string): number {
  const steps: Record<string, number> = {
    ArrowLeft: index - 1,
    ArrowRight: index + 1,
    ArrowUp: index - columns,
    ArrowDown: index + columns,
    Home: 0,
    End: count - 1,
  }
  const to = steps[key] ?? index
  return to >= 0 && to < count ? to : index
}

/** 0 to 1 of what counts as full, null where nothing is known. */
export function colorShare(value: number | null, full: number): number | null {
  return value === null || !(full > 0) ? null : Math.min(1, Math.max(0, value / full))
}

/** How a cell is drawn. Each look has a shape of its own, so that colour is not needed to tell them apart. */
export type CellLook = 'filled' | 'stale' | 'lost' | 'closed' | 'empty'

/**
 * `filled`: by its value. `stale`: heard late, its value is old. `lost`: silent. `closed`: shut out. `empty`: nothing
 * is known yet.
 */
export function lookOfCell(
  { status, revoked }: Pick<Node, 'status' | 'revoked'>,
  share: number | null,
): CellLook {
  if (revoked || status === 'quarantined') return 'closed'
  if (status === 'offline') return 'lost'
  if (status === 'suspect') return 'stale'
  return share === null ? 'empty' : 'filled'
}

export interface Colors {
  track: string
  surface: string
  ok: string
  warn: string
  bad: string
  unknown: string
  paused: string
}

type Pen = Pick<
  CanvasRenderingContext2D,
  | 'fillRect'
  | 'strokeRect'
  | 'beginPath'
  | 'moveTo'
  | 'lineTo'
  | 'stroke'
  | 'fillStyle'
  | 'strokeStyle'
  | 'lineWidth'
  | 'globalAlpha'
>

/** A calm cell is pale; the fuller, the stronger; amber from 75 %, red with a hole from 90 %. */
export function paintCell(
  pen: Pen,
  layout: Layout,
  index: number,
  look: CellLook,
  share: number | null,
  colors: Colors,
): void {
  const { x, y } = cornerOf(layout, index)
  if (look === 'filled' || look === 'stale')
    fill(pen, x, y, layout.cell, share ?? 0, look === 'stale', colors)
  else frame(pen, x, y, layout.cell, look, colors)
}

function fill(
  pen: Pen,
  x: number,
  y: number,
  cell: number,
  share: number,
  isStale: boolean,
  colors: Colors,
): void {
  pen.fillStyle = colors.track
  pen.fillRect(x, y, cell, cell)
  pen.fillStyle = share >= 0.9 ? colors.bad : share >= 0.75 ? colors.warn : colors.ok
  pen.globalAlpha = share >= 0.75 ? 0.9 : 0.12 + 0.75 * share
  // Half a cell: what is seen is not of now.
  pen.fillRect(x, isStale ? y + cell / 2 : y, cell, isStale ? cell / 2 : cell)
  pen.globalAlpha = 1
  if (share >= 0.9) {
    const hole = Math.max(3, cell / 3)
    pen.fillStyle = colors.surface
    pen.fillRect(x + (cell - hole) / 2, y + (cell - hole) / 2, hole, hole)
  }
  if (isStale) line(pen, colors.warn, [x + 1, y + 1, x + cell - 1, y + 1])
}

function frame(pen: Pen, x: number, y: number, cell: number, look: CellLook, colors: Colors): void {
  const color = look === 'lost' ? colors.bad : look === 'closed' ? colors.paused : colors.unknown
  pen.strokeStyle = color
  pen.lineWidth = 1.5
  pen.strokeRect(x + 1, y + 1, cell - 2, cell - 2)
  const inset = cell / 4
  if (look === 'lost') {
    line(pen, color, [x + inset, y + inset, x + cell - inset, y + cell - inset])
    line(pen, color, [x + cell - inset, y + inset, x + inset, y + cell - inset])
  }
  if (look === 'closed') line(pen, color, [x + inset, y + cell / 2, x + cell - inset, y + cell / 2])
}

function line(pen: Pen, color: string, [x1, y1, x2, y2]: [number, number, number, number]): void {
  pen.strokeStyle = color
  pen.lineWidth = 1.5
  pen.beginPath()
  pen.moveTo(x1, y1)
  pen.lineTo(x2, y2)
  pen.stroke()
}
