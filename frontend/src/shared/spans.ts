/** Spans of time as people type them: `90s`, `5m`, `1h 30m`; seconds inside. Pure. */

const UNITS: Record<string, number> = { s: 1, m: 60, min: 60, h: 3600, d: 86_400, w: 604_800 }
const PIECE = /(\d+(?:\.\d+)?)\s*([a-z]+)?/gi

/** Seconds, or null for what is no span. A bare number is seconds; nothing is zero. */
export function parseSpan(text: string): number | null {
  const wanted = text.trim().toLowerCase()
  if (wanted === '') return 0
  if (wanted.replace(PIECE, '').trim() !== '') return null
  let seconds = 0
  for (const [, amount, unit] of wanted.matchAll(PIECE)) {
    const factor = UNITS[unit ?? 's']
    if (factor === undefined) return null
    seconds += Number(amount) * factor
  }
  return seconds
}

/** The shortest spelling that reads back the same: 5400 → `1h 30m`. */
export function spellSpan(seconds: number): string {
  if (seconds === 0) return ''
  const pieces: string[] = []
  let left = seconds
  for (const unit of ['d', 'h', 'm'] as const) {
    const count = Math.floor(left / (UNITS[unit] ?? 1))
    if (count > 0) pieces.push(`${count}${unit}`)
    left -= count * (UNITS[unit] ?? 1)
  }
  if (left > 0) pieces.push(`${Number(left.toFixed(3))}s`)
  return pieces.join(' ')
}
