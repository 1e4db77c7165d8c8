import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { effectScope } from 'vue'
import { KEYMAP, type Binding } from '@/shared/keymap'
import { listenForKeys, useKey } from '@/shared/keys'

function press(key: string, target: EventTarget = document.body, more: KeyboardEventInit = {}): void {
  target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more }))
}

/** Two bindings meet when one is everywhere or both have the same scope. */
function clashes(bindings: readonly Binding[]): string[] {
  return bindings.flatMap((a, index) =>
    bindings
      .slice(index + 1)
      .filter((b) => a.keys === b.keys && (a.scope === b.scope || [a.scope, b.scope].includes('everywhere')))
      .map((b) => `${a.id} and ${b.id} on ${a.keys}`),
  )
}

describe('the keymap', () => {
  it('binds no key twice', () => {
    expect(clashes(KEYMAP)).toEqual([])
  })

  it('would notice a key bound twice', () => {
    expect(clashes([...KEYMAP, { id: 'new', keys: 'j', scope: 'everywhere' }])).toHaveLength(1)
  })

  it('has no key that begins a pair of keys', () => {
    const firsts = KEYMAP.filter(({ keys }) => keys.includes(' ')).map(({ keys }) => keys.split(' ')[0])
    expect(KEYMAP.filter(({ keys }) => firsts.includes(keys))).toEqual([])
  })

  it('names each binding once', () => {
    expect(new Set(KEYMAP.map(({ id }) => id)).size).toBe(KEYMAP.length)
  })
})

describe('keys', () => {
  let scope = effectScope()
  const heard: string[] = []
  beforeAll(listenForKeys)
  afterEach(() => {
    scope.stop()
    scope = effectScope()
    heard.length = 0
    document.body.innerHTML = ''
  })

  it('runs pairs of keys', () => {
    scope.run(() => useKey('goNodes', () => heard.push('nodes')))
    press('g')
    press('n')
    expect(heard).toEqual(['nodes'])
  })

  it('stays silent while somebody types, except for Escape and Ctrl', () => {
    document.body.innerHTML = '<input>'
    const input = document.body.firstElementChild as HTMLInputElement
    scope.run(() => {
      useKey('next', () => heard.push('next'))
      useKey('close', () => heard.push('close'))
      useKey('palette', () => heard.push('palette'))
    })
    press('j', input)
    press('Escape', input)
    press('k', input, { ctrlKey: true })
    expect(heard).toEqual(['close', 'palette'])
  })

  it('gives a key to the last who asked, and back when that one is gone', () => {
    const inner = effectScope()
    scope.run(() => useKey('close', () => heard.push('page')))
    inner.run(() => useKey('close', () => heard.push('panel')))
    press('Escape')
    inner.stop()
    press('Escape')
    expect(heard).toEqual(['panel', 'page'])
  })
})
