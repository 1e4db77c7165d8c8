import { describe, expect, it } from 'vitest'
import type { Instance } from '@/api/types'
import { LogBuffer, withoutOverlap } from '@/features/instances/logBuffer'
import { plainText, splitColors } from '@/shared/ansi'
import { actsFor, needsAttention } from '@/shared/instances/rules'

const ESC = '\u001b'
const lines = (...texts: string[]): { at: null; text: string }[] => texts.map((text) => ({ at: null, text }))

describe('log lines', () => {
  it('keeps colours and nothing else of the escapes', () => {
    expect(
      splitColors(`a${ESC}[31mred${ESC}[1m bold${ESC}[0m z${ESC}[2J${ESC}]52;c;eA==\u0007\u0007`),
    ).toEqual([
      { text: 'a', style: '' },
      { text: 'red', style: 'c1' },
      { text: ' bold', style: 'c1 bold' },
      { text: ' z', style: '' },
    ])
  })
  it('leaves markup as text', () => {
    expect(splitColors('<script>alert(1)</script>')[0]?.text).toBe('<script>alert(1)</script>')
  })
  it('is searched as it is read', () => expect(plainText(`${ESC}[31mer${ESC}[0mror`)).toBe('error'))
})

describe('the log buffer', () => {
  it('drops the oldest and counts them', () => {
    const buffer = new LogBuffer(3)
    expect(buffer.append(lines('a', 'b', 'c', 'd', 'e'))).toBe(2)
    expect(buffer.lines.map(({ text }) => text)).toEqual(['c', 'd', 'e'])
  })
  it('numbers every line once, older ones downwards', () => {
    const buffer = new LogBuffer(10)
    buffer.append(lines('c', 'd'))
    buffer.prepend(lines('a', 'b'))
    buffer.append(lines('e'))
    expect(buffer.lines.map(({ number }) => number)).toEqual([-1, 0, 1, 2, 3])
  })
  it('takes no more older lines than there is room for', () => {
    const buffer = new LogBuffer(3)
    buffer.append(lines('c', 'd'))
    expect(buffer.prepend(lines('a', 'b'))).toBe(1)
    expect(buffer.lines[0]?.text).toBe('b')
  })
  it('shows no line twice when the tail and the follower meet', () => {
    expect(withoutOverlap(lines('a', 'b', 'c'), lines('b', 'c', 'd'))).toEqual(lines('d'))
    expect(withoutOverlap(lines('a'), lines('b'))).toEqual(lines('b'))
    expect(withoutOverlap([], lines('a'))).toEqual(lines('a'))
  })
})

describe('acts', () => {
  const instance = (more: Partial<Instance>): Instance =>
    ({ state: 'running', desired: 'running', health: 'healthy', ...more }) as Instance
  it('offers what the state allows', () => {
    expect(actsFor(instance({}))).toEqual(['stop', 'restart', 'kill', 'destroy'])
    expect(actsFor(instance({ state: 'stopped', desired: 'stopped' }))).toEqual(['start', 'destroy'])
    expect(actsFor(instance({ state: 'failed' }))).toContain('start')
    expect(actsFor(instance({ state: 'stopping' }))).toContain('kill')
    expect(actsFor(instance({ desired: 'absent' }))).toEqual(['kill'])
  })
  it('asks for attention where something is broken, not where it is stopped', () => {
    expect(needsAttention(instance({ state: 'backoff' }))).toBe(true)
    expect(needsAttention(instance({ health: 'unhealthy' }))).toBe(true)
    expect(needsAttention(instance({ state: 'stopped', health: 'unknown' }))).toBe(false)
  })
})
