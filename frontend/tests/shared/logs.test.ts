import { describe, expect, it } from 'vitest'
import { LINE_PX, MOST_PX, scrollFor, spotAt, wayOf } from '@/shared/logs/geometry'
import { LineStore, withoutOverlap } from '@/shared/logs/lines'
import { readFrame, type Line } from '@/shared/logs/source'

const line = (offset: number, instance = 'a'): Line => ({
  offset,
  at: null,
  text: `line ${offset}`,
  instance,
  dropped: 0,
})
const lines = (from: number, to: number): Line[] =>
  Array.from({ length: to - from }, (_, index) => line(from + index))
const mark: Line = { offset: -1, at: null, text: '', instance: 'a', dropped: 7 }

describe('the lines held', () => {
  it('keeps every number whatever comes or goes at the ends', () => {
    const store = new LineStore()
    store.append(lines(5000, 7500))
    store.prepend(lines(3000, 5000))
    store.append(lines(7500, 7600))
    expect([store.first, store.end, store.count]).toEqual([-2000, 2600, 4600])
    for (const number of [-2000, -1, 0, 999, 1000, 2499, 2500, 2599])
      expect(store.at(number)?.offset).toBe(5000 + number)
    expect(store.at(2600)).toBeUndefined()
    expect(store.last(2).map(({ offset }) => offset)).toEqual([7598, 7599])
  })
  it('drops the oldest beyond its bounds and counts them', () => {
    const store = new LineStore(3000)
    expect(store.append(lines(0, 5500))).toBe(3000)
    expect([store.first, store.count, store.at(store.first)?.offset]).toEqual([3000, 2500, 3000])
    const chars = new LineStore(1_000_000, 20_000)
    chars.append(lines(0, 10_000))
    expect(chars.count).toBeLessThan(3001)
  })
  it('takes no more older lines than there is room for', () => {
    const store = new LineStore(10)
    store.append(lines(100, 108))
    expect(store.prepend(lines(90, 100))).toBe(2)
    expect(store.at(store.first)?.offset).toBe(98)
  })
  it('finds a line by its offset, also between marks', () => {
    const store = new LineStore()
    store.append([...lines(0, 10), mark, ...lines(100, 110), mark, mark, line(500)])
    for (const offset of [0, 9, 100, 109, 500])
      expect(store.at(store.find(offset) as number)?.offset).toBe(offset)
    for (const offset of [-5, 10, 99, 499, 501]) expect(store.find(offset)).toBeNull()
  })
  it('holds a million lines and finds any of them', () => {
    const store = new LineStore()
    for (let from = 0; from < 1_000_000; from += 10_000) store.append(lines(from, from + 10_000))
    expect(store.count).toBe(1_000_000)
    expect(store.at(654_321)?.offset).toBe(654_321)
    expect(store.find(999_999)).toBe(999_999)
  })
  it('shows no line twice when the page and the follower meet', () => {
    expect(withoutOverlap(lines(0, 3), lines(1, 5)).map(({ offset }) => offset)).toEqual([3, 4])
    expect(withoutOverlap(lines(0, 3), [line(1, 'b'), mark])).toEqual([line(1, 'b'), mark])
    expect(withoutOverlap([], lines(0, 2))).toEqual(lines(0, 2))
  })
})

describe('frames of a followed log', () => {
  it('are lines, gaps and ends', () => {
    const told = readFrame('{"lines":[{"at":null,"text":"<b>x","offset":7}],"instance_id":"ins_1"}')
    expect(told.lines).toEqual([{ offset: 7, at: null, text: '<b>x', instance: 'ins_1', dropped: 0 }])
    expect(readFrame('{"dropped":5,"bytes":9,"instance_id":"ins_1"}').lines[0]?.dropped).toBe(5)
    expect(readFrame('{"dropped":0,"bytes":9}').lines[0]?.dropped).toBe(-1)
    expect(readFrame('{"end":{"code":"node_offline","message":"gone"}}').end?.code).toBe('node_offline')
  })
})

describe('where lines stand', () => {
  const BOX = 400
  it('is plain scrolling for what fits', () => {
    for (const top of [0, 18, 1000, 1800 * LINE_PX - BOX]) {
      const { line: at, y } = spotAt(top, BOX, 1800)
      expect(at * LINE_PX - y).toBeCloseTo(top)
      expect(scrollFor(at, y, BOX, 1800)).toBeCloseTo(top)
    }
  })
  it('ends with the last line at the bottom, also of two million', () => {
    for (const count of [100, 2_000_000]) {
      expect(spotAt(wayOf(count) - BOX, BOX, count)).toEqual({ line: count, y: BOX })
      const { line: at, y } = spotAt(scrollFor(count - 50, 100, BOX, count), BOX, count)
      expect(at * LINE_PX - y).toBeCloseTo((count - 50) * LINE_PX - 100, 0)
    }
    expect(wayOf(2_000_000)).toBe(MOST_PX)
  })
  it('stays at the top where all are seen', () => {
    expect(spotAt(50, BOX, 3)).toEqual({ line: 0, y: 0 })
    expect(scrollFor(2, 0, BOX, 3)).toBe(0)
  })
})
