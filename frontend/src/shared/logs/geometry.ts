/** Which lines stand where in a scrolled box, whatever their number and height. Pure.
 *
 * At the share p of the scroll way, the line number p × count stands at p × height of the box. Without wrapping that is
 * plain scrolling; with it a line scrolls as far as it is high; and the way may be shorter than all lines together.
 */
export const LINE_PX = 18
/** Browsers allow no element to be much higher (Firefox: 17.9 million). */
export const MOST_PX = 12_000_000

export const wayOf = (count: number): number => Math.min(count * LINE_PX, MOST_PX)

export interface Spot {
  /** Which line, with its passed share: 12.5 is the middle of line 12. */
  line: number
  /** Where it stands in the box, px. */
  y: number
}

export function spotAt(scrollTop: number, boxPx: number, count: number): Spot {
  const way = wayOf(count) - boxPx
  const share = way > 0 ? Math.min(1, Math.max(0, scrollTop / way)) : 0
  return { line: share * count, y: share * boxPx }
}

/** Where to scroll so that this line's upper edge stands `y` px below that of the box. */
export function scrollFor(line: number, y: number, boxPx: number, count: number): number {
  const way = wayOf(count) - boxPx
  const all = count * LINE_PX - boxPx
  return way > 0 ? Math.max(0, Math.min(way, ((line * LINE_PX - y) / all) * way)) : 0
}
