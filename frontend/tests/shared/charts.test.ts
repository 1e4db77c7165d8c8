import { describe, expect, it } from 'vitest'
import type { Alert, InstanceEvent, NodeEvent, Operation, Point } from '@/api/types'
import { devicesOf } from '@/features/nodes/devices'
import { marksOfNode } from '@/features/nodes/useNodeMarks'
import { columnsOf, reachOf, timeLabels } from '@/shared/charts/drawing'
import { cellsOf, rgbOf } from '@/shared/charts/heat'
import {
  markNear,
  marksOfAlerts,
  marksOfEvents,
  marksOfOperations,
  visibleMarks,
} from '@/shared/charts/marks'
import { readZoom, stepFor } from '@/shared/charts/ranges'
import {
  appendMoment,
  curvesOf,
  forgetBefore,
  highestOf,
  indexFrom,
  newestOf,
  replaceTail,
} from '@/shared/charts/series'

const points = (...list: number[][]): Point[] => list as Point[]

describe('curves', () => {
  it('stand on one axis, and a line breaks where time is missing', () => {
    const curves = curvesOf({ a: points([1, 10, 12], [2, 20, 20], [9, 90, 90]), b: points([2, 5, 6]) }, 1)
    expect(curves.times).toEqual([1, 2, 3, 9])
    expect(curves.rows['a']).toEqual({ avg: [10, 20, null, 90], max: [12, 20, null, 90] })
    expect(curves.rows['b']?.avg).toEqual([null, 5, null, null])
  })
  it('of coarse points know a longer pause as usual', () => {
    const coarse = points([0, 1, 1], [60, 2, 2], [120, 3, 3], [600, 4, 4])
    expect(curvesOf({ a: coarse }, 60).times).toEqual([0, 60, 120, 180, 600])
  })
  it('take the newest second once, with a series that is new', () => {
    const curves = curvesOf({ a: points([1, 1, 1]) }, 1)
    appendMoment(curves, 2, { a: 3, b: 7, c: null })
    appendMoment(curves, 2, { a: 99 })
    expect(curves.times).toEqual([1, 2])
    expect(curves.rows['a']?.avg).toEqual([1, 3])
    expect(curves.rows['b']?.max).toEqual([null, 7])
    expect(curves.rows['c']).toBeUndefined()
  })
  it('replace their tail by what was asked again', () => {
    const curves = curvesOf({ a: points([0, 1, 1], [10, 2, 2], [20, 3, 3]) }, 10)
    replaceTail(curves, { a: points([20, 5, 8], [30, 6, 6]) })
    replaceTail(curves, {})
    expect(curves.times).toEqual([0, 10, 20, 30])
    expect(curves.rows['a']).toEqual({ avg: [1, 2, 5, 6], max: [1, 2, 8, 6] })
  })
  it('forget the old once it is a good part', () => {
    const curves = curvesOf({ a: Array.from({ length: 200 }, (_none, at): Point => [at, at, at]) }, 1)
    forgetBefore(curves, 30)
    expect(curves.times).toHaveLength(200)
    forgetBefore(curves, 100)
    expect(curves.times[0]).toBe(100)
    expect(curves.rows['a']?.avg).toHaveLength(100)
  })
  it('forget a series that is gone with its last point', () => {
    const all = Array.from({ length: 200 }, (_none, at): Point => [at, at, at])
    const curves = curvesOf({ a: all, short: all.slice(0, 90), there: all.slice(0, 110) }, 1)
    forgetBefore(curves, 100)
    expect(Object.keys(curves.rows)).toEqual(['a', 'there'])
  })
  it('tell the newest and the highest of a part', () => {
    const curves = curvesOf({ a: points([1, 1, 9], [2, 2, 3], [3, 1, 4]) }, 1)
    expect(newestOf(curves, 'a')).toBe(1)
    expect(highestOf(curves, 'a', { fromS: 2, toS: 3 })).toBe(4)
    expect(highestOf(curves, 'none', { fromS: 0, toS: 9 })).toBeNull()
    expect([0, 2, 9].map((at) => indexFrom(curves.times, at))).toEqual([0, 1, 3])
  })
})

describe('the time of a page', () => {
  const now = 1_000_000
  it.each([
    [60, 1],
    [900, 1],
    [3600, 10],
    [21_600, 30],
    [86_400, 120],
    [604_800, 900],
  ])('asks for a range of %i s in steps of %i s', (range, step) =>
    expect(stepFor({ fromS: now - range, toS: now }, now)).toBe(step),
  )
  it('asks for no finer steps than the server keeps of old times', () => {
    expect(stepFor({ fromS: now - 5000, toS: now - 4900 }, now)).toBe(10)
    expect(stepFor({ fromS: now - 90_000, toS: now - 89_000 }, now)).toBe(60)
  })
  it('takes a zoom out of the address only when it is one', () => {
    expect(readZoom('100', '200')).toEqual({ fromS: 100, toS: 200 })
    for (const [from, to] of [
      ['200', '100'],
      ['a', '5'],
      [undefined, '5'],
      ['1', 'Infinity'],
    ])
      // prettier-ignore
      expect(readZoom(from, to)).toBeNull()
  })
})

describe('what is drawn', () => {
  const lines = [{ label: 'used', color: 'accent' as const, name: 'a' }]
  it('has the highest beside the mean only where a step is longer than a second', () => {
    expect(columnsOf(curvesOf({ a: points([1, 2, 3]) }, 1), lines)).toEqual([[1], [2]])
    expect(columnsOf(curvesOf({ a: points([60, 2, 3]) }, 60), lines)).toEqual([[60], [2], [3]])
    expect(columnsOf(curvesOf({ b: points([1, 2, 3]) }, 1), lines)).toEqual([[1], [null]])
  })
  it('reaches over the highest, and at least as far as it shall', () => {
    expect(reachOf(50, 100)).toEqual([0, 100])
    expect(reachOf(200, 100)[1]).toBeGreaterThan(200)
    expect(reachOf(null, 0)).toEqual([0, 1])
  })
  it('labels seconds, minutes and days', () => {
    const midnight = new Date(2026, 2, 1).getTime() / 1000
    expect(timeLabels([midnight + 61], 10)).toEqual(['00:01:01'])
    expect(timeLabels([midnight + 60], 60)).toEqual(['00:01'])
    expect(timeLabels([midnight, midnight + 21_600], 21_600)).toEqual(['03-01', '06:00'])
  })
})

describe('cells of heat', () => {
  it('are the highest of their time, null where nothing is known', () => {
    const curves = curvesOf({ a: points([0, 10, 10], [1, 30, 30], [9, 5, 5]) }, 1)
    expect(cellsOf(curves, { fromS: 0, toS: 10 }, ['a', 'b'], 5)).toEqual([
      30, null, null, null, 5, null, null, null, null, null,
    ]) // prettier-ignore
  })
  it('fill the time a coarse point stands for', () => {
    const curves = curvesOf({ a: points([0, 10, 10], [10, 20, 20]) }, 10)
    expect(cellsOf(curves, { fromS: 0, toS: 20 }, ['a'], 4)).toEqual([10, 10, 20, 20])
  })
  it('read a colour', () => expect(rgbOf('#2563eb')).toEqual([37, 99, 235]))
})

describe('marks', () => {
  const operation = (kind: string, state: string, node: string): Operation =>
    ({
      kind,
      state,
      created_at: '1970-01-01T00:01:40Z',
      targets: [{ node_id: node }],
    }) as unknown as Operation
  it('are operations on this object, but no mere commands', () => {
    const all = [
      operation('instance.restart', 'failed', 'n1'),
      operation('instance.restart', 'succeeded', 'n2'),
      operation('exec.run', 'succeeded', 'n1'),
    ]
    expect(marksOfOperations(all, ({ node_id }) => node_id === 'n1', ({ kind }) => kind)).toEqual([
      { at: 100, tone: 'bad', text: 'instance.restart' },
    ]) // prettier-ignore
  })
  it('are ends that came by themselves, and lost health', () => {
    const event = (kind: string, state: string, health = 'unknown'): InstanceEvent =>
      ({ kind, state, health, at: '1970-01-01T00:00:07Z' }) as InstanceEvent
    const events = [
      event('state', 'running'),
      event('state', 'backoff'),
      event('health', 'running', 'unhealthy'),
      event('health', 'running', 'healthy'),
    ]
    expect(marksOfEvents(events, ({ kind }) => kind).map(({ at, tone }) => [at, tone])).toEqual([
      [7, 'warn'],
      [7, 'warn'],
    ])
  })
  it('are alerts once they fire, and the silence of a node', () => {
    const alert = (firedAt: string | null): Alert =>
      ({ fired_at: firedAt, severity: 'critical', rule_name: 'full', subject_name: 'n1' }) as Alert
    expect(marksOfAlerts([alert(null), alert('1970-01-01T00:00:09Z')], () => true)).toEqual([
      { at: 9, tone: 'bad', text: 'full: n1' },
    ])
    const event = (kind: string, status: string | null): NodeEvent =>
      ({ kind, status, at: '1970-01-01T00:00:05Z' }) as NodeEvent
    const events = [
      event('status', 'offline'),
      event('status', 'online'),
      event('update', null),
      event('link', null),
    ]
    expect(marksOfNode(events, ({ kind }) => kind)).toEqual([
      { at: 5, tone: 'bad', text: 'status' },
      { at: 5, tone: 'busy', text: 'update' },
    ])
  })
  it('are shown within the span, and found near the cross-hair', () => {
    const marks = [30, 5, 10].map((at) => ({ at, tone: 'ok' as const, text: String(at) }))
    const visible = visibleMarks(marks, { fromS: 4, toS: 20 })
    expect(visible.map(({ at }) => at)).toEqual([5, 10])
    expect(markNear(visible, 9, 2)?.at).toBe(10)
    expect(markNear(visible, 15, 2)).toBeNull()
  })
})

describe('the devices of a machine', () => {
  it('are known by the names of their series', () => {
    const names = [
      'cpu10_percent',
      'cpu2_percent',
      'cpu_percent',
      'disk:/:used_percent',
      'disk:/srv/a:b:used_percent',
      'disk:/:used_bytes',
      'diskio:sda:read_bytes_per_s',
      'net:eth0:rx_bytes_per_s',
    ]
    expect(devicesOf(names)).toEqual({
      cores: ['2', '10'],
      mounts: ['/', '/srv/a:b'],
      disks: ['sda'],
      nics: ['eth0'],
      sensors: [],
    })
  })
})
