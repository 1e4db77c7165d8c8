/** Numbers, sizes, times and ages as text. Pure: the clock and the language are arguments. */

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Decimal units, three significant digits: 1536 → "1.54 kB". */
export function formatBytes(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined || !Number.isFinite(bytes)) return '–'
  let value = bytes
  let unit = 0
  while (Math.abs(value) >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000
    unit += 1
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
  return `${value.toFixed(digits)} ${BYTE_UNITS[unit] ?? ''}`
}

export function formatRate(bytesPerS: number | null | undefined): string {
  return bytesPerS === null || bytesPerS === undefined ? '–' : `${formatBytes(bytesPerS)}/s`
}

export function formatPercent(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value)
    ? '–'
    : `${value.toFixed(value >= 99.95 ? 0 : 1)} %`
}

/** The two largest units: 93784 s → "1 d 2 h". Units are international, hence untranslated. */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds))
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min${s < 600 && s % 60 ? ` ${s % 60} s` : ''}`
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`
}

/** As `formatDuration`, and below a second in milliseconds: for what may be over at once. */
export const formatBrief = (seconds: number): string =>
  seconds < 1 ? `${Math.round(seconds * 1000)} ms` : formatDuration(seconds)

/** Seconds from an RFC 3339 stamp to `nowMs`; never negative, since the clocks of two machines differ. */
export function secondsSince(stamp: string | null | undefined, nowMs: number): number | null {
  if (!stamp) return null
  const at = Date.parse(stamp)
  return Number.isNaN(at) ? null : Math.max(0, (nowMs - at) / 1000)
}

/** Local date and time to the second, digits only, the same in every language: 2026-03-01 14:02:07. */
export function formatStamp(stamp: string | number | null | undefined): string {
  if (stamp === null || stamp === undefined || stamp === '') return '–'
  const at = new Date(stamp)
  if (Number.isNaN(at.getTime())) return '–'
  const two = (value: number): string => String(value).padStart(2, '0')
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${day} ${formatClock(at.getTime())}`
}

/** Local time of day: 14:02:07. */
export function formatClock(ms: number): string {
  const at = new Date(ms)
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':')
}

/** Bytes left over bytes a second; null while nothing is known. */
export function secondsLeft(done: number, total: number, bytesPerS: number): number | null {
  return total > 0 && bytesPerS > 0 ? Math.max(0, (total - done) / bytesPerS) : null
}

export function formatLabels(labels: Record<string, string>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ')
}

/** `k=v, k2=v2` (commas or lines) as labels; a piece without `=` is null: not understood. */
export function parseLabels(text: string): Record<string, string> | null {
  const pieces = text
    .split(/[,\n]/)
    .map((piece) => piece.trim())
    .filter(Boolean)
  const pairs = pieces.map((piece) => /^([^=\s]+)=(.*)$/.exec(piece))
  if (pairs.includes(null)) return null
  return Object.fromEntries(pairs.map((pair) => [pair?.[1] ?? '', (pair?.[2] ?? '').trim()]))
}
