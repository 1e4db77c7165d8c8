/** The lines a view holds, a million and more: in chunks, so that adding at either end moves nothing. Pure. */
import type { Line } from './source'

export const MOST_LINES = 1_000_000
export const MOST_CHARS = 200_000_000
const CHUNK = 1000

export class LineStore {
  private chunks: Line[][] = []
  /** Index of each chunk's first line, counted like `first`. */
  private starts: number[] = []
  private chars = 0
  /** The number of the first line held; older ones make it smaller, dropped ones larger. Numbers never change. */
  first = 0
  end = 0

  constructor(
    private readonly mostLines = MOST_LINES,
    private readonly mostChars = MOST_CHARS,
  ) {}

  get count(): number {
    return this.end - this.first
  }

  /** Newer lines at the end. Returns how many old ones had to go. */
  append(lines: Line[]): number {
    for (const line of lines) {
      const last = this.chunks.at(-1)
      if (last && last.length < CHUNK) last.push(line)
      else {
        this.chunks.push([line])
        this.starts.push(this.end)
      }
      this.end += 1
      this.chars += line.text.length
    }
    return this.trim()
  }

  /** Older lines before the first, as many as there is room for. Returns how many were taken. */
  prepend(lines: Line[]): number {
    const taken = lines.slice(Math.max(0, lines.length - (this.mostLines - this.count)))
    for (let to = taken.length; to > 0; to -= CHUNK) {
      const chunk = taken.slice(Math.max(0, to - CHUNK), to)
      this.first -= chunk.length
      this.chunks.unshift(chunk)
      this.starts.unshift(this.first)
    }
    for (const line of taken) this.chars += line.text.length
    return taken.length
  }

  private trim(): number {
    let gone = 0
    while (this.chunks.length > 1 && (this.count > this.mostLines || this.chars > this.mostChars)) {
      const chunk = this.chunks.shift() as Line[]
      this.starts.shift()
      for (const line of chunk) this.chars -= line.text.length
      gone += chunk.length
      this.first += chunk.length
    }
    return gone
  }

  /** The line with a number from `first` to `end`. */
  at(number: number): Line | undefined {
    let low = 0
    let high = this.starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.starts[middle] as number) <= number) low = middle
      else high = middle - 1
    }
    return this.chunks[low]?.[number - (this.starts[low] ?? 0)]
  }

  /** The number of the line of one log that begins at `offset`, or null. Marks have no offset. */
  find(offset: number): number | null {
    let low = this.first
    let high = this.end - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      let probe = middle
      while (probe > low && this.at(probe)?.offset === -1) probe -= 1
      const found = this.at(probe)?.offset ?? -1
      if (found === offset) return probe
      if (found < offset) low = middle + 1
      else high = probe - 1
    }
    return null
  }

  last(count: number): Line[] {
    const found: Line[] = []
    for (let number = Math.max(this.first, this.end - count); number < this.end; number += 1)
      found.push(this.at(number) as Line)
    return found
  }
}

/** `fresh` without what `tail` holds already: the page and the follower meet somewhere. */
export function withoutOverlap(tail: Line[], fresh: Line[]): Line[] {
  const ends = new Map<string, number>()
  for (const { instance, offset } of tail) ends.set(instance, Math.max(offset, ends.get(instance) ?? -1))
  return fresh.filter(({ instance, offset, dropped }) => dropped !== 0 || offset > (ends.get(instance) ?? -1))
}
