import { describe, expect, it } from 'vitest'
import { shallowRef } from 'vue'
import type { Node } from '@/api/types'
import {
  cellAt,
  cellBeside,
  colorShare,
  layOut,
  lookOfCell,
  paintCell,
  type CellLook,
} from '@/features/overview/grid'
import { fullOf, MEASURES } from '@/features/overview/measures'
import type { Fleet } from '@/stores/live'
import { countTasks } from '@/features/overview/useTaskCounts'

describe('the fleet grid', () => {
  it('holds 2 000 nodes in little height', () => {
    const layout = layOut(2000, 1200)
    expect(layout.height).toBeLessThan(320)
    expect(layOut(3, 1200).cell).toBe(36)
  })
  it('knows the cell under the pointer', () => {
    const layout = layOut(3, 1200)
    expect(cellAt(layout, 40, 5)).toBe(1)
    expect(cellAt(layout, 500, 5)).toBe(-1)
  })
  it('is walked by the arrows, and not left by them', () => {
    const layout = { ...layOut(10, 1200), columns: 4 }
    expect(cellBeside(layout, 0, 'ArrowDown')).toBe(4)
    expect(cellBeside(layout, 8, 'ArrowDown')).toBe(8)
    expect(cellBeside(layout, 0, 'ArrowLeft')).toBe(0)
    expect(cellBeside(layout, 3, 'End')).toBe(9)
    expect(cellBeside(layout, 3, 'x')).toBe(3)
  })
})

/** A pen that writes down what it is told. */
function drawn(look: CellLook, share: number | null): string[] {
  const strokes: string[] = []
  const note =
    (name: string) =>
    (...numbers: number[]): number =>
      strokes.push(`${name} ${numbers.join(' ')}`)
  const pen = {
    fillRect: note('fill'),
    strokeRect: note('frame'),
    beginPath: () => undefined,
    moveTo: note('from'),
    lineTo: note('to'),
    stroke: () => undefined,
    fillStyle: '',
    strokeStyle: '',
    lineWidth: 1,
    globalAlpha: 1,
  }
  const color = { track: '', surface: '', ok: '', warn: '', bad: '', unknown: '', paused: '' }
  paintCell(pen as never, layOut(1, 100), 0, look, share, color)
  return strokes
}

describe('a cell', () => {
  it('tells each state by its shape, without any colour', () => {
    const looks: [CellLook, number | null][] = [
      ['filled', 0.5],
      ['filled', 0.95],
      ['stale', 0.5],
      ['lost', null],
      ['closed', null],
      ['empty', null],
    ]
    const shapes = looks.map(([look, share]) => drawn(look, share).join('; '))
    expect(new Set(shapes).size).toBe(looks.length)
  })
  it('looks as the node is', () => {
    const look = (status: Node['status'], share: number | null, revoked = false): CellLook =>
      lookOfCell({ status, revoked }, share)
    expect(look('online', 0.1)).toBe('filled')
    expect(look('online', null)).toBe('empty')
    expect(look('suspect', 0.1)).toBe('stale')
    expect(look('offline', null)).toBe('lost')
    expect(look('quarantined', 0.1)).toBe('closed')
    expect(look('online', 0.1, true)).toBe('closed')
  })
  it('is full at what counts as full', () => {
    expect(colorShare(150, 100)).toBe(1)
    expect(colorShare(null, 100)).toBeNull()
    expect(colorShare(5, 0)).toBeNull()
  })
})

describe('measures of the fleet', () => {
  const node = (id: string, cores = 4): Node => ({ id, status: 'online', cpu_cores: cores }) as Node
  const rows = new Map([
    ['a', [10, 0, 0, 6, 4_000_000, 1_000_000, 0, 0]],
    ['b', [20, 0, 0, null, null, null, 0, 0]],
  ])
  const fleet = {
    at: shallowRef(1),
    nodes: rows,
    instances: new Map(),
    trails: new Map(),
  } as unknown as Fleet
  it('count load by the core, and both ways of the network', () => {
    expect(MEASURES['load']?.read(fleet, node('a'))).toBe(1.5)
    expect(MEASURES['load']?.read(fleet, node('b'))).toBeNull()
    expect(MEASURES['network']?.read(fleet, node('a'))).toBe(5_000_000)
    expect(MEASURES['network']?.read(fleet, node('b'))).toBeNull()
  })
  it('take the highest of the fleet for full where there is no other', () => {
    const network = MEASURES['network']
    const cpu = MEASURES['cpu']
    if (!network || !cpu) throw new Error('gone')
    expect(fullOf(network, fleet, [node('a'), node('b')])).toBe(5_000_000)
    expect(fullOf(network, fleet, [node('b')])).toBe(1_000_000)
    expect(fullOf(cpu, fleet, [])).toBe(100)
  })
})

it('only statuses that have tasks are counted', () => {
  const stats = {
    pending: 2,
    completed: 1,
    failed: 0,
    total: 3,
    machines: 9,
    unmatched: 1,
    idcs: { dc1: {} },
  }
  expect(countTasks(stats)).toEqual({ pending: 2, completed: 1 })
  expect(countTasks(null)).toEqual({})
})
