import { describe, expect, it } from 'vitest'
import type { NodeEvent } from '@/api/types'
import { mergeEvents } from '@/features/nodes/useNodeEvents'

const event = (id: number, kind: NodeEvent['kind'] = 'link'): NodeEvent => ({
  id,
  at: `2026-01-01T00:00:0${id}Z`,
  kind,
  status: null,
  reason: null,
  actor: '',
})

describe('timeline of a node', () => {
  it('shows each line once, the newest first', () => {
    const ids = mergeEvents([event(2), event(1)], [event(2), event(3)], '').map(({ id }) => id)
    expect(ids).toEqual([3, 2, 1])
  })

  it('takes of what is told live only the chosen kind', () => {
    expect(mergeEvents([event(1)], [event(2, 'status'), event(3)], 'link').map(({ id }) => id)).toEqual([
      3, 1,
    ])
  })
})
