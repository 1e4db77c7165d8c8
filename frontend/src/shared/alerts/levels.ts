/** What a series counts, and its levels as people write them: `90 %`, `1.5 GB`, `20 MB/s`. Pure. */
import { formatBytes, formatDuration, formatPercent, formatRate } from '../format'

export type Unit = 'percent' | 'bytes' | 'rate' | 'celsius' | 'seconds' | 'days' | 'count'

const ENDINGS: [end: RegExp, unit: Unit][] = [
  [/percent$/, 'percent'],
  [/bytes_per_s$/, 'rate'],
  [/bytes$/, 'bytes'],
  [/celsius$/, 'celsius'],
  [/(^|_)(uptime|time)_s$/, 'seconds'],
]

export function unitOf(kind: string, series: string): Unit {
  if (kind === 'certificate') return 'days'
  return ENDINGS.find(([end]) => end.test(series))?.[1] ?? 'count'
}

export function formatLevel(unit: Unit, value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–'
  switch (unit) {
    case 'percent':
      return formatPercent(value)
    case 'bytes':
      return formatBytes(value)
    case 'rate':
      return formatRate(value)
    case 'celsius':
      return `${value.toFixed(1)} °C`
    case 'seconds':
      return formatDuration(value)
    case 'days':
      return `${Math.floor(value)} d`
    case 'count':
      return String(Number(value.toFixed(2)))
  }
}

const SIZES: Record<string, number> = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 }
const SPELT = /^(-?\d+(?:\.\d+)?)\s*(?:(%)|(°?c)|(d)|([kmgt]?)(i?)b(?:\/s)?)?$/i

/** The number of a level as typed, or null. Sizes take their units, everything else only its own. */
export function parseLevel(unit: Unit, text: string): number | null {
  const [, amount, percent, celsius, days, size, binary] = SPELT.exec(text.trim()) ?? []
  if (amount === undefined) return null
  const isSized = size !== undefined
  const fits: Record<Unit, boolean> = {
    percent: !isSized && !celsius && !days,
    celsius: !isSized && !percent && !days,
    days: !isSized && !percent && !celsius,
    bytes: !percent && !celsius && !days,
    rate: !percent && !celsius && !days,
    seconds: !isSized && !percent && !celsius && !days,
    count: !isSized && !percent && !celsius && !days,
  }
  if (!fits[unit]) return null
  const factor = SIZES[(size ?? '').toLowerCase()] ?? 1
  return Number(amount) * (binary ? 1024 ** Math.round(Math.log10(factor) / 3) : factor)
}

/** A level as it is typed back: `90`, `1.5 GB`. */
export function spellLevel(unit: Unit, value: number | null | undefined): string {
  if (value === null || value === undefined) return ''
  if (unit !== 'bytes' && unit !== 'rate') return String(value)
  for (const [name, size] of [
    ['TB', 1e12],
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const) {
    if (Math.abs(value) >= size) return `${value / size} ${name}${unit === 'rate' ? '/s' : ''}`
  }
  return String(value)
}

/** An operator as mathematics writes it. */
export const signOf = (op: string): string => op.replace('>=', '≥').replace('<=', '≤')
