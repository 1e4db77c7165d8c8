/** A profile as a form holds it, and as the API takes it. Pure. */
import { formatLabels, parseLabels } from '@/shared/format'
import type { Method, NewProfile, Profile } from './catalogueTypes'
import { layoutOf, parseLayout, type Preset } from './layouts'
import { isNetworkFine, networkOf, networkText, type NetworkText } from './networkDraft'
import type { DiskLayout } from './types'

export interface ProfileText {
  name: string
  method: Method
  osType: string
  osVersion: string
  image: string
  kernel: string
  initrd: string
  kernelArgs: string
  template: string
  values: string
  preset: Preset
  layout: string
  network: NetworkText
  packages: string
  keys: string
  tests: NewProfile['hardware_tests']
  enrol: boolean
  note: string
}

export type Field = 'name' | 'osType' | 'layout' | 'network' | 'tags'

/** Methods by which a distribution's own installer works, told by a text. */
export const TEMPLATED: readonly Method[] = ['kickstart', 'preseed', 'autoinstall']

export function textOf(profile: Profile | null): ProfileText {
  return {
    name: profile?.name ?? '',
    method: profile?.method ?? 'image',
    osType: profile?.os_type ?? '',
    osVersion: profile?.os_version ?? '',
    image: profile?.image ?? '',
    kernel: profile?.kernel ?? '',
    initrd: profile?.initrd ?? '',
    kernelArgs: profile?.kernel_args ?? '',
    template: profile?.template ?? '',
    values: formatLabels(profile?.values ?? {}),
    preset: profile?.disk_layout ? 'custom' : 'profile',
    layout: profile?.disk_layout ? JSON.stringify(profile.disk_layout, null, 2) : '',
    network: networkText(profile?.network ?? null),
    packages: (profile?.packages ?? []).join(' '),
    keys: (profile?.ssh_keys ?? []).join('\n'),
    tests: [...(profile?.hardware_tests ?? [])],
    enrol: profile?.enrol ?? true,
    note: '',
  }
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

export function wrongFields(text: ProfileText): Field[] {
  const writesNothing = text.method === 'rescue' || text.method === 'hardware_test'
  const checks: [Field, boolean][] = [
    ['name', NAME.test(text.name)],
    ['osType', writesNothing || text.osType !== ''],
    ['layout', text.preset !== 'custom' || parseLayout(text.layout) !== null],
    ['network', isNetworkFine(text.network, null)],
    ['tags', parseLabels(text.values) !== null],
  ]
  return checks.filter(([, isFine]) => !isFine).map(([field]) => field)
}

const layoutIn = ({ preset, layout }: ProfileText): DiskLayout | null =>
  preset === 'custom' ? parseLayout(layout) : layoutOf(preset)

export function profileOf(text: ProfileText): NewProfile {
  const isTemplated = TEMPLATED.includes(text.method)
  return {
    name: text.name,
    method: text.method,
    os_type: text.osType,
    os_version: text.osVersion,
    image: isTemplated ? '' : text.image,
    kernel: isTemplated ? text.kernel : '',
    initrd: isTemplated ? text.initrd : '',
    kernel_args: text.kernelArgs.trim(),
    template: isTemplated ? text.template : '',
    values: parseLabels(text.values) ?? {},
    disk_layout: layoutIn(text),
    network: networkOf(text.network, null),
    packages: text.packages.split(/[\s,]+/).filter(Boolean),
    ssh_keys: text.keys
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean),
    hardware_tests: text.tests,
    enrol: text.enrol,
    note: text.note.trim(),
  }
}
