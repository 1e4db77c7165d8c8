import { describe, expect, it } from 'vitest'
import {
  formatBytes,
  formatDuration,
  formatLabels,
  formatPercent,
  parseLabels,
  secondsLeft,
  secondsSince,
} from '@/shared/format'

describe('formatBytes', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1536, '1.54 kB'],
    [50_000_000, '50.0 MB'],
    [999_999, '1.00 MB'],
    [null, '–'],
  ])('%s → %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text))
})

describe('formatDuration', () => {
  it.each([
    [8, '8 s'],
    [125, '2 min 5 s'],
    [1200, '20 min'],
    [3720, '1 h 2 min'],
    [93_784, '1 d 2 h'],
    [-5, '0 s'],
  ])('%s → %s', (seconds, text) => expect(formatDuration(seconds)).toBe(text))
})

describe('labels', () => {
  it('reads what it writes', () => {
    expect(parseLabels(formatLabels({ zone: 'a', rack: 'r12' }))).toEqual({ zone: 'a', rack: 'r12' })
  })
  it('keeps an equals sign in a value', () => expect(parseLabels('k=a=b')).toEqual({ k: 'a=b' }))
  it('takes nothing as no labels', () => expect(parseLabels(' ')).toEqual({}))
  it('refuses a piece without a value', () => expect(parseLabels('zone=a, rack')).toBeNull())
})

describe('times and shares', () => {
  it('never counts backwards when two clocks differ', () => {
    expect(secondsSince('2026-01-01T00:00:10Z', Date.parse('2026-01-01T00:00:00Z'))).toBe(0)
  })
  it('knows no time left without a rate', () => expect(secondsLeft(10, 100, 0)).toBeNull())
  it('shows a gap for a value that is not there', () => expect(formatPercent(undefined)).toBe('–'))
})
