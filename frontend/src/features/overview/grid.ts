/** Where the cells of the fleet grid stand and how they are painted. Pure but for the pen. */
import type { NodeStatus } from '@/api/types'

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

/** 0 to 1, null where nothing is known. */
export function colorShare(percent: number | null): number | null {
  return percent === null ? null : Math.min(1, Math.max(0, percent / 100))
}

export interface Colors {
  track: string
  ok: string
  warn: string
  bad: string
  unknown: string
}

/** A calm cell is pale; the fuller, the stronger; amber from 75 %, red from 90 %. A silent node is a hollow cell. */
export function paintCell(
  pen: CanvasRenderingContext2D,
  layout: Layout,
  index: number,
  share: number | null,
  status: NodeStatus,
  colors: Colors,
): void {
  const { columns, cell, gap } = layout
  const x = (index % columns) * (cell + gap)
  const y = Math.floor(index / columns) * (cell + gap)
  const isHeard = status === 'online' || status === 'suspect'
  pen.globalAlpha = 1
  if (!isHeard || share === null) {
    pen.strokeStyle = status === 'offline' || status === 'quarantined' ? colors.bad : colors.unknown
    pen.lineWidth = 1.5
    pen.strokeRect(x + 1, y + 1, cell - 2, cell - 2)
    return
  }
  pen.fillStyle = colors.track
  pen.fillRect(x, y, cell, cell)
  pen.fillStyle = share >= 0.9 ? colors.bad : share >= 0.75 ? colors.warn : colors.ok
  pen.globalAlpha = share >= 0.75 ? 0.9 : 0.12 + 0.75 * share
  pen.fillRect(x, y, cell, cell)
  pen.globalAlpha = 1
}
