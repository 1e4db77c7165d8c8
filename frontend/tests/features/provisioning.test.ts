import { describe, expect, it } from 'vitest'
import { parseLines, tableOf, TEMPLATE } from '@/features/provisioning/bulk'
import {
  choicesOf,
  differencesOf,
  disksWanted,
  firstChoice,
  sharedSignatures,
} from '@/features/provisioning/disks'
import { layoutLines, layoutOf, networkLines, parseLayout } from '@/features/provisioning/layouts'
import { osOf } from '@/features/provisioning/names'
import { networkText, newCard } from '@/features/provisioning/networkDraft'
import {
  profileOf,
  textOf as profileText,
  wrongFields as profileWrong,
} from '@/features/provisioning/profileDraft'
import {
  actsOf,
  currentStep,
  percentOf,
  RateMeter,
  stagesOf,
  timeLeft,
} from '@/features/provisioning/progress'
import { taskOf, textOf, wrongFields } from '@/features/provisioning/taskDraft'
import { guessOf } from '@/features/provisioning/useImageUpload'
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
const install = { method: 'image', image: { content_bytes: 500 }, disk_layout: null } as InstallSpec
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
    expect(disksWanted({ method: 'rescue' } as InstallSpec)).toBe(0)
    expect(one.map(({ hindrance }) => hindrance)).toEqual(['', 'removable'])
  })
  it('knows the marks of what others may share', () => {
    expect(sharedSignatures({ signatures: ['gpt', 'ceph_bluestore', 'LVM2_member', 'ext4'] })).toEqual([
      'ceph_bluestore',
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
  const move = (status: TaskStatus): StatusChange => ({
    status,
    at: '2026-01-01T00:00:00Z',
    by: 'x',
    reason: null,
  })
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
  const cellsOf = (text: string): string[][] => parseLines(text).map(({ cells }) => cells)
  it('reads quotes, empty lines and the separators people have', () => {
    expect(cellsOf('a,b\r\n"x, ""y""",2\n\n')).toEqual([
      ['a', 'b'],
      ['x, "y"', '2'],
    ])
    expect(cellsOf('a;b\n1;2')).toEqual([
      ['a', 'b'],
      ['1', '2'],
    ])
    expect(cellsOf('a\tb\n1\t')).toEqual([
      ['a', 'b'],
      ['1', ''],
    ])
  })
  it('numbers the lines as the text has them', () => {
    const found = parseLines('# mine\na,b\n\n"two\nlines",2\n3,4')
    expect(found.map(({ number, cells }) => [number, cells[0]])).toEqual([
      [2, 'a'],
      [5, 'two\nlines'],
      [6, '3'],
    ])
  })
  it('has a heading and rows', () => {
    const { columns, rows } = tableOf('\uFEFFSN,OS type\nS1,Debian')
    expect([columns, rows[0]?.cells]).toEqual([
      ['sn', 'os_type'],
      ['S1', 'Debian'],
    ])
    expect(tableOf('').rows).toEqual([])
    expect(tableOf(TEMPLATE).rows.map(({ cells }) => cells[1])).toEqual(['SN-0001', 'SN-0002'])
  })
})

describe('the form of a task', () => {
  const fine = {
    ...textOf({ in: 'dc1', sn: 'SN1', mac: '00-1A-2B-3C-4D-5E' }),
    osType: 'Debian',
    osVersion: '12',
  }
  it('begins from a machine and asks for the rest', () => {
    expect(wrongFields(textOf({ in: 'dc1', sn: 'SN1', mac: '001a2b3c4d5e' }))).toEqual(['osType'])
    expect(wrongFields(textOf({}))).toEqual(['idc', 'sn', 'mac', 'osType'])
    expect(wrongFields(fine)).toEqual([])
  })
  it('refuses what would be no network, no layout, no tags', () => {
    const bad = {
      ...fine,
      network: { ...networkText(null), hostname: '-x' },
      preset: 'custom' as const,
      layout: '{',
      tags: 'a',
    }
    expect(wrongFields(bad)).toEqual(['layout', 'network', 'tags'])
  })
  it('says only what was chosen', () => {
    expect(taskOf({ ...fine, isAuto: true }).power).toBe('auto')
    expect(taskOf(fine)).toEqual({
      idc: 'dc1',
      sn: 'SN1',
      mac: '00-1A-2B-3C-4D-5E',
      os_type: 'Debian',
      os_version: '12',
      tags: {},
    })
    const full = {
      ...fine,
      preset: 'mirror' as const,
      network: {
        hostname: 'web',
        cards: [{ ...newCard(), isStatic: true, address: '10.0.0.5/24' }],
        dns: '10.0.0.2 10.0.0.3',
      },
    }
    const made = taskOf(full)
    expect(made.disk_layout).toMatchObject({ kind: 'plain', disks: 2, raid: [{ level: '1' }] })
    expect(made.network).toEqual({
      hostname: 'web',
      interfaces: [{ mac: '00-1A-2B-3C-4D-5E', address: '10.0.0.5/24', gateway: '' }],
      dns: ['10.0.0.2', '10.0.0.3'],
    })
  })
})

describe('layouts and networks as lines', () => {
  it('tell partitions, arrays and volumes', () => {
    expect(layoutLines(layoutOf('mirror'))).toEqual([
      'biosboot 1MiB bios_boot',
      'esp 512MiB vfat → /boot/efi',
      'system rest raid',
      'md0 RAID1 (2 × system) ext4 → /',
    ])
    expect(layoutLines(layoutOf('lvm')).slice(-2)).toEqual(['vg0/swap 4GiB swap', 'vg0/root rest ext4 → /'])
    expect(layoutLines(layoutOf('image'))).toEqual([])
    expect(parseLayout('{"kind": "plain"}')).not.toBe(null)
    expect(['[]', 'null', '{"kind": "x"}', ''].map(parseLayout)).toEqual([null, null, null, null])
  })
  it('tell cards and resolvers', () => {
    const interfaces = [
      { mac: 'm1', address: '10.0.0.5/24', gateway: '10.0.0.1' },
      { mac: 'm2', address: '', gateway: '' },
    ]
    expect(networkLines({ hostname: 'web', interfaces, dns: ['10.0.0.2'] })).toEqual([
      'web',
      'm1 10.0.0.5/24 via 10.0.0.1',
      'm2 DHCP',
      'DNS 10.0.0.2',
    ])
    expect(networkLines(null)).toEqual([])
  })
})

describe('an image by its file', () => {
  it('tells name, version and format where it can', () => {
    expect(guessOf('debian-12.raw.zst')).toEqual({ name: 'debian', version: '12', format: 'raw.zst' })
    expect(guessOf('rocky_9.4.tar.gz')).toEqual({ name: 'rocky', version: '9.4', format: 'tar.gz' })
    expect(guessOf('base.tgz').format).toBe('tar.gz')
    expect(guessOf('vmlinuz-6.1').format).toBe('kernel')
    expect(guessOf('initrd.gz').format).toBe('initrd')
    expect(guessOf('my disk.img')).toEqual({ name: 'my-disk', version: '', format: 'raw' })
  })
})

describe('the form of a profile', () => {
  const draft = { ...profileText(null), name: 'web', osType: 'Debian', osVersion: '12' }
  it('asks for a name and a system, except where none is written', () => {
    expect(profileWrong(profileText(null))).toEqual(['name', 'osType'])
    expect(profileWrong({ ...draft, osType: '', method: 'rescue' })).toEqual([])
    expect(profileWrong({ ...draft, preset: 'custom', layout: '{', values: 'x' })).toEqual(['layout', 'tags'])
  })
  it('sends a template only with an installer, an image only without', () => {
    const both = { ...draft, image: 'deb', kernel: 'k', template: 'text', keys: 'a\n\n b ', packages: 'x, y' }
    expect(profileOf(both)).toMatchObject({ image: 'deb', kernel: '', template: '' })
    const preseed = profileOf({ ...both, method: 'preseed' })
    expect(preseed).toMatchObject({ image: '', kernel: 'k', template: 'text', ssh_keys: ['a', 'b'] })
    expect(preseed.packages).toEqual(['x', 'y'])
  })
  it('returns what it was given', () => {
    const network = {
      hostname: '',
      cards: [{ mac: '00:1a:2b:3c:4d:5e', isStatic: true, address: '10.0.0.5/24', gateway: '' }],
      dns: '10.0.0.2',
    }
    const made = profileOf({ ...draft, preset: 'mirror', values: 'a=b', network })
    const saved = { ...made, version: 3, changed_at: '', changed_by: '' }
    expect(profileOf(profileText(saved))).toEqual(made)
    expect(profileWrong({ ...draft, network: { ...network, dns: 'x' } })).toEqual(['network'])
  })
})

describe('the name of a system', () => {
  it('has its version once', () => {
    expect(osOf({ os_type: 'Ubuntu 22.04', os_version: '22.04' })).toBe('Ubuntu 22.04')
    expect(osOf({ os_type: 'Ubuntu', os_version: '22.04' })).toBe('Ubuntu 22.04')
    expect(osOf({ os_type: 'Other', os_version: '' })).toBe('Other')
  })
})
