/** What an approval may say yes to: which disks can be written, which must not, and what has changed since. Pure. */
import type { DiskInfo, InstallSpec, Machine } from './types'

/** Why a disk cannot be approved, in the words of the dictionary; '' where it can. */
export type Hindrance = '' | 'noId' | 'readOnly' | 'removable' | 'protected' | 'tooSmall' | 'twin'

/** Signatures of storage that other machines may be using now; such a disk is named once more before it is wiped. */
const SHARED = /^(ceph_|zfs_|drbd|vmfs|ocfs|gfs|gluster|lustre|oracleasm)/i

/** Methods that write no system. */
const WRITES_NOTHING = ['rescue', 'hardware_test']

/** What names a disk for good: its WWN or else its serial. */
export const diskId = (disk: Pick<DiskInfo, 'wwn' | 'serial'>): string => disk.wwn || disk.serial

export const sharedSignatures = (disk: Pick<DiskInfo, 'signatures'>): string[] =>
  disk.signatures.filter((name) => SHARED.test(name))

/** How many disks the installation takes. */
export const disksWanted = ({ method, disk_layout }: Pick<InstallSpec, 'method' | 'disk_layout'>): number =>
  WRITES_NOTHING.includes(method) ? 0 : (disk_layout?.disks ?? 1)

export interface DiskChoice {
  id: string
  disk: DiskInfo
  hindrance: Hindrance
  /** Its share of the largest disk, 0 to 1: the length of its bar. */
  share: number
}

/** Every disk of a machine in the order of its names, and whether it can be written at all. */
export function choicesOf(machine: Machine, install: InstallSpec, protectedSerials: string[]): DiskChoice[] {
  const disks = [...(machine.hardware?.disks ?? [])].sort((a, b) => a.name.localeCompare(b.name))
  const largest = Math.max(1, ...disks.map(({ size_bytes }) => size_bytes))
  const ids = disks.map(diskId)
  const need = install.image?.content_bytes ?? 0
  return disks.map((disk) => {
    const id = diskId(disk)
    const isTwin = ids.filter((other) => other === id).length > 1
    const hindrance = hindranceOf(disk, id, isTwin, need, protectedSerials)
    return { id, disk, hindrance, share: disk.size_bytes / largest }
  })
}

function hindranceOf(
  disk: DiskInfo,
  id: string,
  isTwin: boolean,
  need: number,
  protectedSerials: string[],
): Hindrance {
  if (id === '') return 'noId'
  if (isTwin) return 'twin'
  if ([disk.serial, disk.wwn].some((name) => name !== '' && protectedSerials.includes(name)))
    return 'protected'
  if (disk.is_read_only) return 'readOnly'
  if (disk.is_removable) return 'removable'
  return disk.size_bytes < need ? 'tooSmall' : ''
}

/** Chosen without asking only where nothing could be chosen otherwise: as many disks fit as are wanted. */
export function firstChoice(choices: DiskChoice[], wanted: number): string[] {
  const fit = choices.filter(({ hindrance }) => hindrance === '')
  return fit.length === wanted ? fit.map(({ id }) => id) : []
}

export interface Difference {
  what: 'disk' | 'mac' | 'uuid' | 'firmware'
  kind: 'added' | 'removed' | 'changed'
  name: string
  before: string
  after: string
}

const disksBy = (machine: Machine): Map<string, DiskInfo> =>
  new Map((machine.hardware?.disks ?? []).filter((one) => !one.is_removable).map((one) => [diskId(one), one]))

function diskDifferences(before: Machine, after: Machine): Difference[] {
  const [old, fresh] = [disksBy(before), disksBy(after)]
  const size = (disk: DiskInfo): string => String(disk.size_bytes)
  return [...new Set([...old.keys(), ...fresh.keys()])].flatMap((name): Difference[] => {
    const [was, is] = [old.get(name), fresh.get(name)]
    if (was && !is) return [{ what: 'disk', kind: 'removed', name, before: size(was), after: '' }]
    if (!was && is) return [{ what: 'disk', kind: 'added', name, before: '', after: size(is) }]
    if (was && is && was.size_bytes !== is.size_bytes)
      return [{ what: 'disk', kind: 'changed', name, before: size(was), after: size(is) }]
    return []
  })
}

function macDifferences(before: Machine, after: Machine): Difference[] {
  const gone = before.macs.filter((mac) => !after.macs.includes(mac))
  const come = after.macs.filter((mac) => !before.macs.includes(mac))
  return [
    ...gone.map((name): Difference => ({ what: 'mac', kind: 'removed', name, before: name, after: '' })),
    ...come.map((name): Difference => ({ what: 'mac', kind: 'added', name, before: '', after: name })),
  ]
}

/** What makes two inventories of one serial number different machines: what an approval is bound to. */
export function differencesOf(before: Machine, after: Machine): Difference[] {
  const changed = (what: 'uuid' | 'firmware', was: string, is: string): Difference[] =>
    was === is ? [] : [{ what, kind: 'changed', name: what, before: was, after: is }]
  return [
    ...diskDifferences(before, after),
    ...macDifferences(before, after),
    ...changed('uuid', before.uuid.toLowerCase(), after.uuid.toLowerCase()),
    ...changed('firmware', before.hardware?.firmware ?? '', after.hardware?.firmware ?? ''),
  ]
}
