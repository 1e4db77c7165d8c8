/** The lines of a log the page holds: bounded, numbered, oldest dropped first. Pure. */
import type { LogLine } from '@/api/types'

export interface NumberedLine extends LogLine {
  number: number
}

export const MOST_LINES = 20_000

export class LogBuffer {
  lines: NumberedLine[] = []
  private next = 1
  private first = 0

  constructor(private readonly most = MOST_LINES) {}

  /** Newer lines at the end. Returns how many old ones had to go. */
  append(lines: LogLine[]): number {
    for (const line of lines) this.lines.push({ ...line, number: this.next++ })
    const excess = Math.max(0, this.lines.length - this.most)
    if (excess > 0) this.lines = this.lines.slice(excess)
    return excess
  }

  /** Older lines before the first; numbers go on downwards. As many as there is room for. */
  prepend(lines: LogLine[]): number {
    const room = lines.slice(Math.max(0, lines.length - (this.most - this.lines.length)))
    const numbered = room.map((line, index) => ({ ...line, number: this.first - (room.length - 1 - index) }))
    this.first -= room.length
    this.lines = [...numbered, ...this.lines]
    return room.length
  }
}

function isSame(a: LogLine, b: LogLine): boolean {
  if (a.offset !== undefined && b.offset !== undefined) return a.offset === b.offset
  return a.text === b.text && a.at === b.at
}

/** `fresh` without the lines that already stand at the end of `tail`. */
export function withoutOverlap(tail: LogLine[], fresh: LogLine[]): LogLine[] {
  for (let count = Math.min(tail.length, fresh.length); count > 0; count -= 1) {
    const end = tail.slice(-count)
    if (end.every((line, index) => isSame(line, fresh[index] as LogLine))) return fresh.slice(count)
  }
  return fresh
}
