import { describe, expect, it } from 'vitest'
import type { CommandResult, Node, OperationTarget } from '@/api/types'
import { commandOf, isComplete, NEW_COMMAND, spellCommand, struckBy, textOf } from '@/features/commands/order'
import { countStates, isCut, lastLine, mergeResult } from '@/features/commands/results'

describe('a command as a form writes it', () => {
  it('is a line for the shell, or words as they are', () => {
    const line = { ...NEW_COMMAND, line: ' df -h | tail -1\n', words: 'left\nover' }
    expect(commandOf(line)).toEqual({ argv: [], command: 'df -h | tail -1', user: '', timeout_s: 60 })
    const words = commandOf({ ...line, mode: 'words', words: 'echo\n\n two words \n', user: ' www ' })
    expect(words).toEqual({ argv: ['echo', '', ' two words '], command: '', user: 'www', timeout_s: 60 })
    expect(commandOf(textOf(words))).toEqual(words)
  })
  it('is complete with a line or a program', () => {
    expect(isComplete(commandOf(NEW_COMMAND))).toBe(false)
    expect(isComplete(commandOf({ ...NEW_COMMAND, mode: 'words', words: '\nnot first' }))).toBe(false)
    expect(isComplete(commandOf({ ...NEW_COMMAND, line: 'true' }))).toBe(true)
  })
  it('is spelled so that words stay apart', () => {
    expect(spellCommand({ command: '', argv: ['echo', 'a b', ''] })).toBe('echo "a b" ""')
  })
})

describe('the nodes a command strikes', () => {
  const node = (name: string, labels: Record<string, string>, more: Partial<Node> = {}): Node =>
    ({ id: `nod_${name}`, name, labels, status: 'online', revoked: false, ...more }) as Node
  const nodes = [
    node('n10', { zone: 'a' }),
    node('n9', { zone: 'a', rack: 'r1' }),
    node('off', { zone: 'a' }, { status: 'offline' }),
    node('shut', { zone: 'a' }, { revoked: true }),
    node('new', { zone: 'a' }, { status: 'planned' }),
  ]
  const struck = (by: 'nodes' | 'labels', ids: string[], labels: string): string[] =>
    struckBy({ by, ids, labels }, nodes).map(({ name }) => name)
  it('are those that were ticked and can be asked', () => {
    expect(struck('nodes', ['nod_n10', 'nod_n9', 'nod_shut', 'nod_gone'], 'zone=a')).toEqual(['n9', 'n10'])
  })
  it('are those that carry every label; no label means none', () => {
    expect(struck('labels', ['nod_n10'], 'zone=a')).toEqual(['n9', 'n10', 'off'])
    expect(struck('labels', [], 'zone=a, rack=r1')).toEqual(['n9'])
    expect(struck('labels', ['nod_n10'], '')).toEqual([])
    expect(struck('labels', [], 'zone')).toEqual([])
  })
})

describe('a result', () => {
  const result = (state: string, more: Partial<CommandResult> = {}): CommandResult =>
    ({ node_id: 'n', state, stdout: '', stderr: '', is_tail: true, ...more }) as CommandResult
  const target = (state: string): OperationTarget => ({ state }) as OperationTarget
  it('takes the newest word, and from the operation how far it is', () => {
    const told = result('running', { stdout: 'hi' })
    expect(mergeResult(result('pending'), told, target('running')).stdout).toBe('hi')
    expect(mergeResult(result('pending'), undefined, target('running')).state).toBe('running')
    expect(mergeResult(result('pending'), undefined, undefined).state).toBe('pending')
  })
  it('stays as it ended', () => {
    const ended = result('succeeded', { exit_code: 0 })
    expect(mergeResult(result('running'), ended, target('running'))).toEqual(ended)
    expect(mergeResult(result('cancelled', { stdout: 'kept' }), result('running'), undefined).stdout).toBe(
      'kept',
    )
  })
  it('is perhaps cut when it fills a tail, by bytes', () => {
    expect(isCut(result('succeeded', { stdout: 'x'.repeat(16_383) }))).toBe(false)
    expect(isCut(result('succeeded', { stderr: '好'.repeat(5462) }))).toBe(true)
    expect(isCut(result('succeeded', { stdout: 'x'.repeat(20_000), is_tail: false }))).toBe(false)
  })
  it('shows its last line while folded', () => {
    expect(lastLine(result('failed', { stdout: 'a\nb\n', stderr: 'c' }))).toBe('b')
    expect(lastLine(result('failed', { stderr: 'c\n' }))).toBe('c')
  })
  it('is counted with the others of its state', () => {
    const all = [result('failed'), result('running'), result('failed')]
    expect(countStates(all)).toEqual([
      { state: 'running', count: 1 },
      { state: 'failed', count: 2 },
    ])
  })
})
