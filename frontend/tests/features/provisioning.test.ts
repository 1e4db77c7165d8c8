import { describe, expect, it } from 'vitest'
import { parseCells, tableOf, TEMPLATE } from '@/features/provisioning/bulk'
import {
  choicesOf,
  differencesOf,
  disksWanted,
  firstChoice,
  sharedSignatures,
} from '@/features/provisioning/disks'
import {
  actsOf,
  currentStep,
  percentOf,
  RateMeter,
  stagesOf,
  timeLeft,
} from '@/features/provisioning/progress'
import type {
  DiskInfo,
  InstallSpec,
  Machine,
  Progress,
  StatusChange,
  TaskStatus,
} from '@/features/provisioning/types'

const disk = (name: string, more: Partial<DiskInfo> = {}): DiskInfo => ({
  name,
  size_bytes: 1000,
  serial: `S-${name}`,
  wwn: '',
  model: '',
  is_rotational: false,
  is_removable: false,
  is_read_only: false,
  signatures: [],
  ...more,
})
const machine = (disks: DiskInfo[], more: Partial<Machine> = {}): Machine =>
  ({
    idc: 'dc1',
    sn: 'SN1',
    uuid: 'U',
    macs: ['m1'],
    hardware: { firmware: 'bios', disks },
    ...more,
  }) as Machine
const install = { image: { content_bytes: 500 }, disk_layout: null } as InstallSpec
const step = (name: string, at: number, bytes: number | null = null, percent = 0): Progress => ({
  step: name,
  percent,
  message: '',
  at: new Date(at).toISOString(),
  bytes_done: bytes,
  bytes_total: 10_000,
})

describe('disks of an approval', () => {
  it('says of each disk why it cannot be written', () => {
    const disks = [
      disk('sdb', { size_bytes: 400 }),
      disk('sda', { wwn: 'W1', size_bytes: 2000 }),
      disk('sdc', { serial: '' }),
      disk('sdd', { is_read_only: true }),
      disk('sde', { serial: 'KEEP' }),
      disk('sdf', { wwn: 'W2', serial: 'KEEP2' }),
    ]
    const found = choicesOf(machine(disks), install, ['KEEP', 'KEEP2'])
    expect(found.map(({ disk: { name }, hindrance }) => [name, hindrance])).toEqual([
      ['sda', ''],
      ['sdb', 'tooSmall'],
      ['sdc', 'noId'],
      ['sdd', 'readOnly'],
      ['sde', 'protected'],
      ['sdf', 'protected'],
    ])
    expect(found[0]).toMatchObject({ id: 'W1', share: 1 })
    expect(found[1]?.share).toBe(0.2)
  })
  it('offers no disk whose name two have', () => {
    const found = choicesOf(
      machine([disk('sda', { serial: 'X' }), disk('sdb', { serial: 'X' })]),
      install,
      [],
    )
    expect(found.map(({ hindrance }) => hindrance)).toEqual(['twin', 'twin'])
  })
  it('chooses by itself only where there is no choice', () => {
    const one = choicesOf(machine([disk('sda'), disk('usb', { is_removable: true })]), install, [])
    expect(firstChoice(one, 1)).toEqual(['S-sda'])
    expect(firstChoice(choicesOf(machine([disk('sda'), disk('sdb')]), install, []), 1)).toEqual([])
    expect(firstChoice(choicesOf(machine([]), install, []), 1)).toEqual([])
    expect(disksWanted(install)).toBe(1)
    expect(disksWanted({ disk_layout: { disks: 2 } } as InstallSpec)).toBe(2)
  })
  it('knows the marks of what others may share', () => {
    expect(sharedSignatures({ signatures: ['gpt', 'ceph_bluestore', 'LVM2_member', 'ext4'] })).toEqual([
      'ceph_bluestore',
      'LVM2_member',
    ])
  })
})

describe('two inventories of one serial number', () => {
  it('are the same when only what changes from boot to boot did', () => {
    const before = machine([disk('sda'), disk('usb', { is_removable: true })])
    expect(differencesOf(before, machine([disk('sdz', { serial: 'S-sda' })]))).toEqual([])
  })
  it('tell disks, cards, board and firmware', () => {
    const before = machine([disk('sda'), disk('sdb')], { macs: ['m1', 'm2'] })
    const after = machine([disk('sda', { size_bytes: 2000 }), disk('sdc')], { macs: ['m1', 'm3'], uuid: 'V' })
    const found = differencesOf(before, after).map(({ what, kind, name }) => `${what} ${kind} ${name}`)
    expect(found).toEqual([
      'disk changed S-sda',
      'disk removed S-sdb',
      'disk added S-sdc',
      'mac removed m2',
      'mac added m3',
      'uuid changed uuid',
    ])
  })
})

describe('the acts of a task', () => {
  const acts = (status: TaskStatus, is_cancel_asked = false): string =>
    actsOf({ status, is_cancel_asked }).join(' ')
  it('follow the state machine', () => {
    expect(acts('pending')).toBe('cancel')
    expect(acts('pending_approval')).toBe('approve reject cancel')
    expect(acts('installing')).toBe('cancel')
    expect(acts('installing', true)).toBe('')
    expect(acts('needs_operator')).toBe('cancel retry')
    expect(acts('failed')).toBe('retry remove')
    expect(acts('completed')).toBe('remove')
  })
})

describe('progress', () => {
  it('is that of the step that told last', () => {
    const progress = [step('write', 2000, null, 40), step('wipe', 1000, null, 100)]
    expect(currentStep({ progress })?.step).toBe('write')
    expect(percentOf({ status: 'installing', progress })).toBe(40)
    expect(percentOf({ status: 'completed', progress: [] })).toBe(100)
    expect(percentOf({ status: 'pending', progress: [] })).toBe(null)
  })
  it('has the rate of the last ten seconds and the time left', () => {
    const meter = new RateMeter()
    expect(meter.note(step('write', 0, 0))).toBe(null)
    expect(meter.note(step('write', 1000, 500))).toBe(500)
    expect(meter.note(step('write', 1000, 500))).toBe(500)
    expect(meter.note(step('write', 15_000, 1000))).toBe(null)
    const rate = meter.note(step('write', 16_000, 3000))
    expect(rate).toBe(2000)
    expect(timeLeft(step('write', 16_000, 3000), rate)).toBe(3.5)
    expect(timeLeft(step('write', 16_000, 3000), null)).toBe(null)
  })
  it('begins anew with another step, and when a step begins again', () => {
    const meter = new RateMeter()
    meter.note(step('write', 0, 0))
    meter.note(step('write', 1000, 500))
    expect(meter.note(step('verify', 2000, 100))).toBe(null)
    expect(meter.note(step('verify', 3000, 200))).toBe(100)
    expect(meter.note(step('verify', 4000, 50))).toBe(null)
    expect(meter.note(step('verify', 5000, null))).toBe(null)
  })
})

describe('the road of a task', () => {
  const move = (status: TaskStatus): StatusChange => ({ status, at: '2026-01-01T00:00:00Z', by: 'x' })
  const road = (...statuses: TaskStatus[]): string =>
    stagesOf({ status: statuses.at(-1) ?? 'pending', status_history: statuses.map(move) })
      .map(({ status, state }) => `${status}:${state}`)
      .join(' ')
  it('shows what is behind, here, and ahead', () => {
    expect(road('pending', 'pending_approval')).toBe(
      'pending:done booting:skipped pending_approval:now approved:ahead installing:ahead completed:ahead',
    )
  })
  it('ends where it left', () => {
    expect(road('pending', 'booting', 'failed')).toBe('pending:done booting:done failed:now')
  })
  it('counts only the present attempt', () => {
    expect(road('pending', 'booting', 'failed', 'pending')).toBe(
      'pending:now booting:ahead pending_approval:ahead approved:ahead installing:ahead completed:ahead',
    )
  })
})

describe('a table of machines', () => {
  it('reads quotes, empty lines and the separators people have', () => {
    expect(parseCells('a,b\r\n"x, ""y""",2\n\n')).toEqual([
      ['a', 'b'],
      ['x, "y"', '2'],
    ])
    expect(parseCells('a;b\n1;2')).toEqual([
      ['a', 'b'],
      ['1', '2'],
    ])
    expect(parseCells('a\tb\n1\t')).toEqual([
      ['a', 'b'],
      ['1', ''],
    ])
    expect(parseCells('a,b\n"two\nlines",2')[1]).toEqual(['two\nlines', '2'])
  })
  it('names the cells by the first line', () => {
    expect(tableOf('\uFEFFSN,OS type,\nS1,Debian,lost')).toEqual({
      columns: ['sn', 'os_type'],
      rows: [{ sn: 'S1', os_type: 'Debian' }],
    })
    expect(tableOf('').rows).toEqual([])
    expect(tableOf(TEMPLATE).rows.map(({ sn }) => sn)).toEqual(['SN-0001', 'SN-0002'])
  })
})
