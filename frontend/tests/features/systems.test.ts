import { describe, expect, it } from 'vitest'
import type { Instance, Manifest, Module, Node, System } from '@/api/types'
import { planDeploy } from '@/features/systems/deployPlan'
import { draftOf, parseEnv, parsePorts, textOf, wrongFields } from '@/features/systems/moduleDraft'
import { NEW_MOUNT } from '@/features/systems/overrides'
import { areSecretsFine, secretsOf, secretTextsOf, type SecretText } from '@/features/systems/secrets'
import { buildTree, filterTree, foldTree, type TreeRow } from '@/features/systems/tree'

const system = { id: 's1', name: 'shop', description: '', created_at: '' } as System
const module = (id: string, order: number): Module =>
  ({ id, system_id: 's1', name: id, start_order: order, placement: { labels: {} } }) as unknown as Module
const instance = (id: string, moduleId: string, nodeId: string): Instance =>
  ({ id, system_id: 's1', module_id: moduleId, node_id: nodeId, state: 'running' }) as Instance
const keys = (rows: TreeRow[]): string => rows.map(({ key, depth }) => `${depth}${key}`).join(' ')

const rows = buildTree({
  systems: [system],
  modules: [module('web', 2), module('db', 1)],
  instances: [instance('i2', 'web', 'n10'), instance('i1', 'web', 'n9'), instance('i3', 'gone', 'n1')],
  nodeName: (id) => id,
})

describe('the tree', () => {
  it('stands in start order, instances by node, those without a module last', () => {
    expect(keys(rows)).toBe('0s1 1db 1web 2i1 2i2 2i3')
  })
  it('keeps what is above a match and what is below', () => {
    expect(keys(filterTree(rows, ({ key }) => key === 'i2'))).toBe('0s1 1web 2i2')
    expect(keys(filterTree(rows, ({ key }) => key === 'web'))).toBe('0s1 1web 2i1 2i2 2i3')
    expect(keys(filterTree(rows, () => false))).toBe('')
  })
  it('folds', () => {
    expect(keys(foldTree(rows, new Set(['web'])))).toBe('0s1 1db 1web')
    expect(keys(foldTree(rows, new Set(['s1'])))).toBe('0s1')
  })
})

describe('the plan of a deploy', () => {
  const node = (id: string, more: Partial<Node> = {}): Node =>
    ({ id, name: id, status: 'online', os: 'linux', arch: 'amd64', labels: {}, ...more }) as Node
  const manifest = { os: 'linux', arch: 'any' } as Manifest
  const plan = (nodes: Node[], wanted = module('web', 0)): string[] =>
    planDeploy(wanted, manifest, nodes, [instance('i1', 'web', 'n1')]).map(
      ({ node: { id }, hindrance, cautions }) => `${id}:${hindrance ?? cautions.join('+')}`,
    )
  it('says what is in the way, the possible first', () => {
    const nodes = [
      node('n1'),
      node('n2', { os: 'windows' }),
      node('n3', { status: 'offline' }),
      node('n4'),
      node('n5', { paused: true }),
      node('n6', { status: 'planned', os: '' }),
    ]
    expect(plan(nodes)).toEqual(['n4:', 'n3:offline', 'n1:present', 'n2:wrong_os', 'n5:paused', 'n6:planned'])
  })
  it('warns outside the placement', () => {
    const wanted = { ...module('web', 0), placement: { labels: { zone: 'a' }, spread_by: '' } }
    expect(plan([node('n2'), node('n3', { labels: { zone: 'a' } })], wanted)).toEqual(['n3:', 'n2:outside'])
  })
})

describe('the module form', () => {
  it('reads environment with commas and spaces in values', () => {
    expect(parseEnv('A=1, 2\nB=')).toEqual({ A: '1, 2', B: '' })
    expect(parseEnv('no value')).toBeNull()
  })
  it('takes only real ports', () => {
    expect(parsePorts('http=8080, admin=1')).toEqual({ http: 8080, admin: 1 })
    for (const bad of ['http=0', 'http=65536', 'http=x', 'http=1.5', 'http'])
      expect(parsePorts(bad), bad).toBeNull()
    expect(parsePorts('')).toEqual({})
  })
  it('takes the package’s where nothing is written', () => {
    const text = { ...textOf(null), name: 'web', package: 'p', version: '1' }
    expect(wrongFields(text)).toEqual([])
    expect(draftOf(text)).toMatchObject({
      args: null,
      replicas: null,
      env: {},
      ports: {},
      placement: { labels: {} },
    })
  })
  it('names the wrong fields', () => {
    const text = { ...textOf(null), name: '-x', replicas: '0', env: 'x', ports: 'x' }
    expect(wrongFields(text)).toEqual(['name', 'package', 'version', 'replicas', 'env', 'ports'])
  })
})

describe('what a module changes of its package', () => {
  const filled = { ...textOf(null), name: 'web', package: 'p', version: '1' }
  it('is nothing where nothing is written', () => {
    expect(draftOf(filled)).toMatchObject({ health: null, restart: null, config_mounts: [] })
  })
  it('is only what is written, by the server’s types', () => {
    const draft = draftOf({
      ...filled,
      health: { ...filled.health, type: 'http', failures: '5' },
      restart: { ...filled.restart, success_codes: '0, 3', max_restarts: '2' },
      mounts: [{ ...NEW_MOUNT, path: ' conf/a.yaml ', content: ' a: 1\n', mode: '0600' }],
    })
    expect(draft).toMatchObject({
      health: { type: 'http', failures: 5 },
      restart: { success_codes: [0, 3], max_restarts: 2 },
      config_mounts: [{ path: 'conf/a.yaml', content: ' a: 1\n', mode: '0600' }],
    })
  })
  it('comes back as it was written', () => {
    const module = {
      placement: { labels: {} },
      health: { interval: '5s' },
      restart: { success_codes: [0, 3] },
      config_mounts: [{ path: 'a' }],
    } as unknown as Module
    const again = textOf(module)
    expect([again.health.interval, again.health.type]).toEqual(['5s', ''])
    expect(again.restart.success_codes).toBe('0, 3')
    expect(again.mounts).toEqual([{ ...NEW_MOUNT, path: 'a' }])
  })
  it('refuses times, codes, paths and modes that are none', () => {
    const mount = (path: string, mode = '0640'): object => ({ mounts: [{ ...NEW_MOUNT, path, mode }] })
    const wrong = (more: object): string[] => wrongFields({ ...filled, ...more } as typeof filled)
    expect(wrong({ health: { ...filled.health, interval: '5' } })).toEqual(['health'])
    expect(wrong({ health: { ...filled.health, interval: '1m30s' } })).toEqual([])
    expect(wrong({ restart: { ...filled.restart, success_codes: '0;1' } })).toEqual(['restart'])
    for (const path of ['', '/etc/passwd', '../a', 'a/../b', 'a/..', 'C:x', 'a\\b', 'a/', 'a//b', './a'])
      expect(wrong(mount(path)), path).toEqual(['mounts'])
    for (const path of ['a', 'conf/app.yaml', '..a/b..', '.env']) expect(wrong(mount(path)), path).toEqual([])
    expect(wrong(mount('a', 'rw'))).toEqual(['mounts'])
  })
})

describe('secret environment values', () => {
  const fresh = (name: string, value: string): SecretText => ({ name, value, isStored: false, isGone: false })
  it('are left out while nobody touches them', () => {
    const texts = secretTextsOf(['A', 'B'])
    expect(secretsOf(texts)).toEqual({})
    expect('env_secrets' in draftOf({ ...textOf(null), secrets: texts })).toBe(false)
  })
  it('are set by a value and taken away by null', () => {
    const [a, b, c] = secretTextsOf(['A', 'B', 'C'])
    if (!a || !b || !c) throw new Error('three were given')
    const texts = [{ ...a, value: 'x' }, { ...b, isGone: true }, c, fresh(' D ', 'y')]
    expect(draftOf({ ...textOf(null), secrets: texts }).env_secrets).toEqual({ A: 'x', B: null, D: 'y' })
  })
  it('want a usable name once, a value, and a place of their own', () => {
    const stored = secretTextsOf(['A'])
    expect(areSecretsFine(stored, [])).toBe(true)
    expect(areSecretsFine([...stored, fresh('A', 'x')], [])).toBe(false)
    expect(areSecretsFine([fresh('1A', 'x')], [])).toBe(false)
    expect(areSecretsFine([fresh('A', '')], [])).toBe(false)
    expect(areSecretsFine([fresh('A', 'x')], ['A'])).toBe(false)
    expect(wrongFields({ ...textOf(null), secrets: [fresh('', '')] })).toContain('secrets')
  })
})
