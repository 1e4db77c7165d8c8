/** A recording (asciicast v2) as a player needs it. Pure. */

export interface CastEvent {
  /** Seconds since the beginning. */
  at: number
  /** `o`: said; `r`: a new size, `COLSxROWS`. */
  kind: string
  text: string
}

export interface Cast {
  cols: number
  rows: number
  title: string
  events: CastEvent[]
  durationS: number
}

/** Read the file. A last line that was cut in half is left out: the recording may still go on. */
export function parseCast(text: string): Cast {
  const [head = '', ...lines] = text.split('\n')
  const header = JSON.parse(head) as { width: number; height: number; title?: string }
  const events: CastEvent[] = []
  for (const line of lines) {
    try {
      const [at, kind, said] = JSON.parse(line) as [number, string, string]
      events.push({ at, kind, text: said })
    } catch {
      break
    }
  }
  const { width: cols, height: rows, title = '' } = header
  return { cols, rows, title, events, durationS: events.at(-1)?.at ?? 0 }
}

/** The same with no pause longer than `maxS`. */
export function withoutPauses(cast: Cast, maxS: number): Cast {
  let before = 0
  let now = 0
  const events = cast.events.map((event) => {
    now += Math.min(maxS, event.at - before)
    before = event.at
    return { ...event, at: now }
  })
  return { ...cast, events, durationS: now }
}

/** The number of events up to and including the second `at`. */
export function countUntil(events: CastEvent[], at: number): number {
  let [low, high] = [0, events.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((events[middle]?.at ?? 0) <= at) low = middle + 1
    else high = middle
  }
  return low
}

/** What is to be done to the screen: bytes said in one go are one write. */
export type Act = { write: string } | { cols: number; rows: number }

export function actsOf(events: CastEvent[]): Act[] {
  const acts: Act[] = []
  for (const { kind, text } of events) {
    const last = acts.at(-1)
    if (kind === 'o' && last && 'write' in last) last.write += text
    else if (kind === 'o') acts.push({ write: text })
    else if (kind === 'r') {
      const [cols, rows] = text.split('x').map(Number)
      if (cols && rows) acts.push({ cols, rows })
    }
  }
  return acts
}

/** `m:ss` of a position. */
export function spellPosition(seconds: number): string {
  const whole = Math.floor(seconds)
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`
}
