import { describe, expect, it } from 'vitest'
import type { Module } from '@/api/types'
import { layOut } from '@/features/systems/topology'

const module = (id: string, depends_on: string[] = [], start_order = 0): Module =>
  ({ id, name: id, depends_on, start_order }) as unknown as Module
const spell = (modules: Module[]): string[] =>
  layOut(modules).places.map(({ module: { id }, column, row }) => `${id}:${column}/${row}`)

describe('the topology of a system', () => {
  it('puts what waits to the right of what it waits for', () => {
    expect(
      spell([module('web', ['app']), module('app', ['db', 'queue']), module('db'), module('queue')]),
    ).toEqual(['app:1/0', 'db:0/0', 'queue:0/1', 'web:2/0'])
  })
  it('draws a line for every dependency that is there', () => {
    const { lines, columns, rows } = layOut([module('web', ['db', 'gone']), module('db')])
    expect(lines.map(({ from, to }) => `${from.module.id}>${to.module.id}`)).toEqual(['db>web'])
    expect([columns, rows]).toEqual([2, 1])
  })
  it('ends on a circle and on nothing', () => {
    expect(spell([module('a', ['b']), module('b', ['a'])])).toHaveLength(2)
    expect(layOut([]).rows).toBe(0)
  })
})
