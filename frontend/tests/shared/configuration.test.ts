import { describe, expect, it } from 'vitest'
import type { LayeredValue } from '@/api/types'
import {
  isEnvName,
  isVariableName,
  layeredRows,
  reachOf,
  variableRows,
  type Level,
} from '@/shared/configuration/rules'

const value: LayeredValue = {
  name: 'A',
  value: '1',
  is_secret: false,
  origin: 'instance',
  hides: ['package', 'module'],
}

describe('values of configuration', () => {
  it('names the level that shows again first', () => {
    expect(layeredRows([value], 'instance')[0]?.hides).toEqual(['module', 'package'])
    expect(value.hides).toEqual(['package', 'module'])
  })
  it('takes away only what is set here', () => {
    expect(layeredRows([value], 'instance')[0]?.isOwn).toBe(true)
    expect(layeredRows([{ ...value, origin: 'module' }], 'instance')[0]?.isOwn).toBe(false)
    expect(layeredRows([value], null)[0]?.isOwn).toBe(false)
  })
  it('never has a value for a secret', () => {
    const [row] = variableRows([{ owner: 'global', name: 'KEY', value: null, is_secret: true }])
    expect(row).toMatchObject({ value: null, isSecret: true, isOwn: true })
  })
  it('brings a change to one thing, and to all systems from nowhere', () => {
    const reach = (level: Level): unknown => reachOf({ level, id: 'x', name: '' })
    expect(reach('instance')).toEqual({ instance_id: 'x' })
    expect(reach('module')).toEqual({ module_id: 'x' })
    expect(reach('system')).toEqual({ system_id: 'x' })
    expect(reach('global')).toBeNull()
  })
  it('knows which names are fine', () => {
    expect(['DB_HOST', '_a', 'a1'].every(isEnvName)).toBe(true)
    expect(['1a', 'a-b', 'a.b', ''].some(isEnvName)).toBe(false)
    expect(['region', 'a.b-c', '1'].every(isVariableName)).toBe(true)
    expect(['.a', 'a b', '', 'x'.repeat(65)].some(isVariableName)).toBe(false)
  })
})
