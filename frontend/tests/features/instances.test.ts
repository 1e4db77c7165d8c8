import { describe, expect, it } from 'vitest'
import type { Instance } from '@/api/types'
import { plainText, splitColors } from '@/shared/ansi'
import { actsFor, needsAttention } from '@/shared/instances/rules'

const ESC = '\u001b'

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
