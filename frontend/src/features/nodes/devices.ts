/** What a machine has, by the names of its series: cores, file systems, disks, interfaces, sensors. Pure. */
import { compareText } from '@/shared/collate'

export interface Devices {
  /** Series of each core, the first core first. */
  cores: string[]
  mounts: string[]
  disks: string[]
  nics: string[]
  sensors: string[]
}

const KINDS: [keyof Devices, RegExp][] = [
  ['cores', /^cpu(\d+)_percent$/],
  ['mounts', /^disk:(.+):used_percent$/],
  ['disks', /^diskio:(.+):read_bytes_per_s$/],
  ['nics', /^net:(.+):rx_bytes_per_s$/],
  ['sensors', /^temp:(.+):celsius$/],
]

export function devicesOf(names: Iterable<string>): Devices {
  const found: Devices = { cores: [], mounts: [], disks: [], nics: [], sensors: [] }
  for (const name of names)
    for (const [kind, shape] of KINDS) {
      const device = shape.exec(name)?.[1]
      if (device !== undefined) found[kind].push(device)
    }
  for (const list of Object.values(found) as string[][]) list.sort(compareText)
  return found
}
