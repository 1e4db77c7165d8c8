import { describe, expect, it } from 'vitest'
import { appendMoment, toColumns } from '@/shared/charts/series'

describe('columns of a chart', () => {
  it('merges series on one axis and breaks the line at a gap', () => {
    const [times, a, b] = toColumns(
      [
        [[1, 10, 12], [2, 20, 20], [9, 90, 90]],
        [[2, 5, 5]],
      ], // prettier-ignore
      0,
    )
    expect(times).toEqual([1, 2, 2.001, 9])
    expect(a).toEqual([10, 20, null, 90])
    expect(b).toEqual([null, 5, null, null])
  })
  it('leaves out what is before the window', () => expect(toColumns([[[1, 1, 1], [5, 2, 2]]], 3)[0]).toEqual([5])) // prettier-ignore
})

describe('a moment more', () => {
  it('appends, forgets the old, and leaves the list before as it was', () => {
    const before = { cpu: [[1, 1, 1], [50, 2, 2]] as [number, number, number][] } // prettier-ignore
    const after = appendMoment(before, 61, { cpu: 3, mem: 4, swap: null }, 60)
    expect(after).toEqual({ cpu: [[1, 1, 1], [50, 2, 2], [61, 3, 3]], mem: [[61, 4, 4]] }) // prettier-ignore
    expect(before.cpu).toHaveLength(2)
    expect(appendMoment(after, 62, { cpu: 5 }, 60)['cpu']?.[0]?.[0]).toBe(50)
  })
  it('takes no moment twice', () => {
    expect(appendMoment({ cpu: [[5, 1, 1]] }, 5, { cpu: 9 }, 60)).toEqual({ cpu: [[5, 1, 1]] })
  })
})
