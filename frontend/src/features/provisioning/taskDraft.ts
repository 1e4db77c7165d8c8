/** The form of a new task, and what the API takes. Pure. */
import { parseLabels } from '@/shared/format'
import { layoutOf, parseLayout, type Preset } from './layouts'
import { isMac, isNetworkFine, networkOf, networkText, type NetworkText } from './networkDraft'
import type { DiskLayout, NewTask } from './types'

export interface TaskText {
  idc: string
  sn: string
  mac: string
  osType: string
  osVersion: string
  profile: string
  preset: Preset
  layout: string
  network: NetworkText
  tags: string
  /** The master boots the machine from the network by its BMC. */
  isAuto: boolean
}

export type Field = 'idc' | 'sn' | 'mac' | 'osType' | 'layout' | 'network' | 'tags'

/** A form that is begun from a machine, by the query of the address. */
export function textOf(query: Record<string, unknown>): TaskText {
  const one = (name: string): string => (typeof query[name] === 'string' ? query[name] : '')
  return {
    idc: one('in'),
    sn: one('sn'),
    mac: one('mac'),
    osType: '',
    osVersion: '',
    profile: one('profile'),
    preset: 'profile',
    layout: '',
    network: networkText(null),
    tags: '',
    isAuto: false,
  }
}

const IDC = /^[a-z0-9][a-z0-9-]{0,31}$/
const SN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

export function wrongFields(text: TaskText): Field[] {
  const checks: [Field, boolean][] = [
    ['idc', IDC.test(text.idc)],
    ['sn', SN.test(text.sn.trim())],
    ['mac', isMac(text.mac)],
    ['osType', text.osType.trim() !== '' || text.profile !== ''],
    ['layout', text.preset !== 'custom' || parseLayout(text.layout) !== null],
    ['network', isNetworkFine(text.network, text.mac)],
    ['tags', parseLabels(text.tags) !== null],
  ]
  return checks.filter(([, isFine]) => !isFine).map(([field]) => field)
}

function diskLayoutOf({ preset, layout }: TaskText): DiskLayout | null {
  return preset === 'custom' ? parseLayout(layout) : layoutOf(preset)
}

export function taskOf(text: TaskText): NewTask {
  const layout = diskLayoutOf(text)
  const network = networkOf(text.network, text.mac)
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
