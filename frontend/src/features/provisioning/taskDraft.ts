/** The form of a new task, and what the API takes. Pure. */
import { parseLabels } from '@/shared/format'
import { layoutOf, parseLayout, type Preset } from './layouts'
import type { DiskLayout, NetworkConfig, NewTask } from './types'

export interface TaskText {
  idc: string
  sn: string
  mac: string
  osType: string
  osVersion: string
  profile: string
  preset: Preset
  layout: string
  hostname: string
  address: string
  gateway: string
  dns: string
  tags: string
  /** The master boots the machine from the network by its BMC. */
  isAuto: boolean
}

export type Field = 'idc' | 'sn' | 'mac' | 'osType' | 'layout' | 'hostname' | 'address' | 'gateway' | 'tags'

/** A form that is begun from a machine, by the query of the address. */
export function textOf(query: Record<string, unknown>): TaskText {
  const one = (name: string): string => (typeof query[name] === 'string' ? query[name] : '')
  const rest = { layout: '', hostname: '', address: '', gateway: '', dns: '', tags: '', isAuto: false }
  return {
    idc: one('in'),
    sn: one('sn'),
    mac: one('mac'),
    osType: '',
    osVersion: '',
    profile: one('profile'),
    preset: 'profile',
    ...rest,
  }
}

const IDC = /^[a-z0-9][a-z0-9-]{0,31}$/
const SN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const HOST = /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/
const ADDRESS = /^[0-9a-fA-F.:]+\/\d{1,3}$/
const MAC_DIGITS = /^[0-9a-f]{12}$/

/** Six bytes however they are parted, the first of them not a group's. */
export function isMac(text: string): boolean {
  const digits = text.trim().toLowerCase().replace(/[:.-]/g, '')
  return MAC_DIGITS.test(digits) && (parseInt(digits.slice(0, 2), 16) & 1) === 0
}

export function wrongFields(text: TaskText): Field[] {
  const checks: [Field, boolean][] = [
    ['idc', IDC.test(text.idc)],
    ['sn', SN.test(text.sn.trim())],
    ['mac', isMac(text.mac)],
    ['osType', text.osType.trim() !== '' || text.profile !== ''],
    ['layout', text.preset !== 'custom' || parseLayout(text.layout) !== null],
    ['hostname', text.hostname === '' || HOST.test(text.hostname.trim())],
    ['address', text.address === '' ? text.gateway === '' : ADDRESS.test(text.address.trim())],
    ['tags', parseLabels(text.tags) !== null],
  ]
  return checks.filter(([, isFine]) => !isFine).map(([field]) => field)
}

function diskLayoutOf({ preset, layout }: TaskText): DiskLayout | null {
  return preset === 'custom' ? parseLayout(layout) : layoutOf(preset)
}

function networkOf({ hostname, mac, address, gateway, dns }: TaskText): NetworkConfig | null {
  if (!hostname && !address && !dns) return null
  const card = { mac: mac.trim(), address: address.trim(), gateway: gateway.trim() }
  return {
    hostname: hostname.trim(),
    interfaces: address ? [card] : [],
    dns: dns.split(/[\s,]+/).filter(Boolean),
  }
}

export function taskOf(text: TaskText): NewTask {
  const layout = diskLayoutOf(text)
  const network = networkOf(text)
  return {
    idc: text.idc,
    sn: text.sn.trim(),
    mac: text.mac.trim(),
    os_type: text.osType.trim(),
    os_version: text.osVersion.trim(),
    ...(text.profile ? { profile: text.profile } : {}),
    ...(layout ? { disk_layout: layout } : {}),
    ...(network ? { network } : {}),
    tags: parseLabels(text.tags) ?? {},
    ...(text.isAuto ? { power: 'auto' as const } : {}),
  }
}
