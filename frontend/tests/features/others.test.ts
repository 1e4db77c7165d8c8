import { describe, expect, it } from 'vitest'
import type { Operation, OperationTarget, Process } from '@/api/types'
import { targetOf } from '@/features/auth/target'
import { strengthOf } from '@/shared/strength'
import { searchProcesses, treeOf } from '@/features/nodes/tree'
import { changesOf, percentOf, timeLeft } from '@/features/operations/progress'
import { topBy } from '@/features/overview/top'
import { pieces, rank, remember } from '@/shared/frame/rank'
import { nameTargets } from '@/shared/useOperationTitle'
import { isFilled } from '@/shared/words'

describe('where a login leads', () => {
  it.each([
    ['/nodes?q=a', '/nodes?q=a'],
    ['//evil.example', '/'],
    ['/\\evil.example', '/'],
    ['https://evil.example', '/'],
    [undefined, '/'],
  ])('%s → %s', (to, target) => expect(targetOf(to)).toBe(target))
})

describe('the strength of a password', () => {
  it('is nothing below ten characters', () => expect(strengthOf('Ab1!Ab1!x')).toBe(0))
  it('is little for one letter ten times', () => expect(strengthOf('aaaaaaaaaaaa')).toBe(1))
  it('grows with length and variety', () => {
    expect(strengthOf('correct horse 9 battery')).toBeGreaterThan(strengthOf('correcthor'))
  })
})

describe('progress', () => {
  const target = (more: Partial<OperationTarget>): OperationTarget =>
    ({ state: 'running', step: 'download', bytes_done: 0, bytes_total: 0, ...more }) as OperationTarget
  const steps = ['download', 'start'].map((name) => ({ name, state: 'pending' }))
  const percent = (...targets: OperationTarget[]): number =>
    percentOf({ state: 'running', steps, targets } as unknown as Operation)
  it('counts steps, and bytes inside a step', () => {
    expect(percent(target({ bytes_done: 50, bytes_total: 100 }))).toBe(25)
    expect(percent(target({ step: 'start' }), target({ state: 'succeeded' }))).toBe(75)
    expect(percent()).toBe(0)
  })
  const whole = (...targets: OperationTarget[]): Operation =>
    ({ state: 'running', steps, targets }) as unknown as Operation
  it('is left what the slowest running target has left', () => {
    const [slow, quick] = [target({ eta_s: 9.2 }), target({ eta_s: 2 })]
    expect(timeLeft(whole(quick, slow, target({ eta_s: null })))).toBe(10)
    expect(timeLeft(whole(target({ eta_s: null })))).toBeNull()
    expect(timeLeft(whole(target({ eta_s: 5, state: 'succeeded' })))).toBeNull()
    expect(timeLeft({ ...whole(slow), state: 'failed' } as Operation)).toBeNull()
  })
  it('is read again when a target is elsewhere, not when its bytes move', () => {
    const before = changesOf(whole(target({ bytes_done: 1 })))
    expect(changesOf(whole(target({ bytes_done: 2 })))).toBe(before)
    expect(changesOf(whole(target({ step: 'start' })))).not.toBe(before)
  })
})

describe('processes', () => {
  const process = (pid: number, ppid: number, name = 'p'): Process =>
    ({ pid, ppid, name, cmdline: [], user: 'u', unit: '', cgroup: '', ports: [] }) as unknown as Process
  it('stand under their parents; one whose parent is not listed is a root', () => {
    const rows = treeOf([process(5, 2), process(2, 1), process(1, 0), process(9, 77), process(0, 0)])
    expect(rows.map(({ process: { pid }, depth }) => `${pid}:${depth}`)).toEqual([
      '0:0',
      '1:1',
      '2:2',
      '5:3',
      '9:0',
    ])
  })
  it('are found by number and name', () => {
    expect(searchProcesses([process(12, 1, 'redis'), process(34, 1)], 'REDIS')).toHaveLength(1)
    expect(searchProcesses([process(12, 1, 'redis'), process(34, 1)], '34')).toHaveLength(1)
  })
})

describe('small rules', () => {
  it('ranks the highest few and skips the unknown', () => {
    expect(topBy([1, null, 9, 5], (n) => n, 2).map(({ value }) => value)).toEqual([9, 5])
  })
  it('finds an action by its words in any order', () => {
    const commands = ['Restart web @ n3', 'Restart db @ n3', 'Stop web @ n3'].map((title) => ({
      id: title,
      title,
      group: 'actions' as const,
      run: () => undefined,
    }))
    expect(rank(commands, 'web restart', [], 5).map(({ title }) => title)).toEqual(['Restart web @ n3'])
    expect(rank(commands, 'restart web on n3', [], 5)).toHaveLength(1)
  })
  it('knows an English verb and spaceless Chinese in a Chinese console', () => {
    const command = {
      id: 'restart-i1',
      title: '重启 web @ n3',
      group: 'actions' as const,
      run: () => undefined,
    }
    for (const typed of ['restart web', '重启web', '重启 web n3', 'n3'])
      expect(rank([command], typed, [], 5), typed).toEqual([command])
    expect(rank([command], 'stop web', [], 5)).toEqual([])
  })
  it('lets lately chosen lines lead, and good fits before them', () => {
    const commands = ['nodes', 'web1', 'web2', 'a web'].map((title) => ({
      id: title,
      title,
      group: 'nodes' as const,
      run: () => undefined,
    }))
    const ids = (typed: string, recent: string[]): string[] =>
      rank(commands, typed, recent, 9).map(({ id }) => id)
    expect(ids('', ['web2', 'a web'])).toEqual(['web2', 'a web', 'nodes', 'web1'])
    expect(ids('web', ['web2'])).toEqual(['web2', 'web1', 'a web'])
    expect(remember(['a', 'b', 'c'], 'b', 3)).toEqual(['b', 'a', 'c'])
    expect(remember(['a', 'b'], 'c', 2)).toEqual(['c', 'a'])
  })
  it('marks what was typed', () => {
    const marked = pieces('Restart web @ n3', 'web on rest')
      .map(({ text, isHit }) => (isHit ? `[${text}]` : text))
      .join('')
    expect(marked).toBe('[Rest]art [web] @ n3')
  })
  it('names the first things an operation works on, and counts the others', () => {
    const target = (name: string, node: string | null): OperationTarget =>
      ({ name, node_id: node }) as OperationTarget
    const nodeName = (id: string): string => id.toUpperCase()
    const targets = [target('web', 'n3'), target('shop', null), target('db', 'n1')]
    expect(nameTargets(targets, nodeName)).toEqual({ names: 'web @ N3, shop', more: 1 })
    expect(nameTargets([], nodeName)).toEqual({ names: '', more: 0 })
  })
  it('prefers the server’s words to a sentence with a hole', () => {
    expect(isFilled('exited with code {exit_code}', { exit_code: 0 })).toBe(true)
    expect(isFilled('exited with code {exit_code}', {})).toBe(false)
  })
})
