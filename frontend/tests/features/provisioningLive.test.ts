import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { effectScope, nextTick, shallowRef, type EffectScope } from 'vue'
import { useCounts, useNews, useOverlay, type Counts, type Overlay } from '@/features/provisioning/live'
import { useLive } from '@/stores/live'

interface Row {
  idc: string
  sn: string
  status?: string
}
const row = (sn: string, status?: string): Row => ({ idc: 'dc1', sn, ...(status ? { status } : {}) })

let scope: EffectScope
beforeEach(() => {
  setActivePinia(createPinia())
  scope = effectScope()
})
afterEach(() => scope.stop())

function tell(topic: string, data: unknown, type: 'snapshot' | 'change' = 'change'): number {
  const listeners = [...(useLive().listeners.get(topic) ?? [])]
  for (const hear of listeners) hear({ topic, type, seq: 1, epoch: 'e', part: 0, last: true, data })
  return listeners.length
}

describe('rows of a page', () => {
  it('are followed one by one, and only while they are shown', async () => {
    const rows = shallowRef([row('a'), row('b')])
    const { told } = scope.run(() => useOverlay<Row>('task', () => rows.value)) as Overlay<Row>
    expect(tell('task:dc1/a', { items: [row('a', 'installing')] })).toBe(1)
    expect(tell('task:dc1/c', { items: [row('c', 'installing')] })).toBe(0)
    expect(told.value.get('dc1/a')?.status).toBe('installing')
    rows.value = [row('b'), row('c')]
    await nextTick()
    expect(tell('task:dc1/a', { items: [row('a', 'completed')] })).toBe(0)
    expect(tell('task:dc1/b', { items: [row('b', 'booting')] })).toBe(1)
    expect([...told.value.keys()]).toEqual(['dc1/b'])
  })

  it('are followed no longer than the page stands', () => {
    scope.run(() => useOverlay<Row>('machine', () => [row('a')]))
    scope.stop()
    expect(tell('machine:dc1/a', { items: [] })).toBe(0)
  })
})

it('news of one machine are its own, from the first word on', () => {
  let heard = 0
  scope.run(() => useNews('machine', row('a'), () => (heard += 1)))
  tell('machine:dc1/a', { items: [row('a')] }, 'snapshot')
  expect(heard).toBe(1)
  tell('machine:dc1/a', { items: [row('a')] })
  tell('machine:dc1/b', { items: [row('b')] })
  expect(heard).toBe(2)
})

describe('counts', () => {
  it('are unknown until they are told, then summed by status and data centre', () => {
    let changes = 0
    const counts = scope.run(() => useCounts(() => (changes += 1))) as Counts
    expect(counts.of('', '')).toBeUndefined()
    const items = [
      { idc: 'dc1', pending: 2, installing: 1, total: 3 },
      { idc: 'dc2', pending: 5, installing: 0, total: 5 },
    ]
    tell('stats', { items }, 'snapshot')
    expect(changes).toBe(1)
    expect(counts.of('', '')).toBe(8)
    expect(counts.of('pending,installing', 'dc1')).toBe(3)
    tell('stats', { items: [{ idc: 'dc1', pending: 1, installing: 2, total: 3 }] })
    expect(changes).toBe(2)
    expect(counts.of('pending', '')).toBe(6)
    tell('stats', { items: [{ idc: 'dc3', pending: 1, total: 1 }] }, 'snapshot')
    expect(counts.of('', '')).toBe(1)
    expect(changes).toBe(3)
  })
})
