/** Disk layouts and networks: as short lines, and as the choices of a form. Pure. */
import type { DiskLayout, NetworkConfig } from './types'

const at = (mount?: string): string => (mount ? ` → ${mount}` : '')

/** One line a partition, array and volume; none where the image brings its own. */
export function layoutLines(layout: DiskLayout | null): string[] {
  if (!layout || layout.kind === 'image') return []
  return [
    ...layout.partitions.map(
      ({ name, size, filesystem, mount }) => `${name} ${size} ${filesystem}${at(mount)}`,
    ),
    ...layout.raid.map(
      ({ name, level, partition, filesystem, mount }) =>
        `${name} RAID${level} (${layout.disks} × ${partition}) ${filesystem}${at(mount)}`,
    ),
    ...layout.volume_groups.flatMap(({ name, volumes }) =>
      volumes.map((one) => `${name}/${one.name} ${one.size} ${one.filesystem}${at(one.mount)}`),
    ),
  ]
}

/** Host name, cards and resolvers; none where everything is asked of DHCP. */
export function networkLines(network: NetworkConfig | null): string[] {
  if (!network) return []
  return [
    ...(network.hostname ? [network.hostname] : []),
    ...network.interfaces.map(({ mac, address, gateway }) =>
      [mac, address || 'DHCP', ...(gateway ? [`via ${gateway}`] : [])].join(' '),
    ),
    ...(network.dns.length > 0 ? [`DNS ${network.dns.join(', ')}`] : []),
  ]
}

export const PRESETS = ['profile', 'image', 'plain', 'mirror', 'lvm', 'custom'] as const
export type Preset = (typeof PRESETS)[number]

const boot: DiskLayout['partitions'] = [
  { name: 'biosboot', size: '1MiB', filesystem: 'bios_boot', mount: '' },
  { name: 'esp', size: '512MiB', filesystem: 'vfat', mount: '/boot/efi' },
]
const none: Omit<DiskLayout, 'kind' | 'disks'> = {
  partitions: [],
  raid: [],
  volume_groups: [],
  grow_root: true,
}

/** The layout of a choice; null: what the profile or image says. `custom` is typed. */
export function layoutOf(preset: Exclude<Preset, 'custom'>): DiskLayout | null {
  const root = { name: 'root', size: 'rest', filesystem: 'ext4', mount: '/' } as const
  switch (preset) {
    case 'profile':
      return null
    case 'image':
      return { kind: 'image', disks: 1, ...none }
    case 'plain':
      return { kind: 'plain', disks: 1, ...none, partitions: [...boot, root] }
    case 'mirror':
      return {
        kind: 'plain',
        disks: 2,
        ...none,
        partitions: [...boot, { name: 'system', size: 'rest', filesystem: 'raid', mount: '' }],
        raid: [{ name: 'md0', level: '1', partition: 'system', filesystem: 'ext4', mount: '/' }],
      }
    case 'lvm': {
      const swap = { name: 'swap', size: '4GiB', filesystem: 'swap', mount: '' } as const
      return {
        kind: 'plain',
        disks: 1,
        ...none,
        partitions: [...boot, { name: 'system', size: 'rest', filesystem: 'lvm', mount: '' }],
        volume_groups: [{ name: 'vg0', members: ['system'], volumes: [swap, root] }],
      }
    }
  }
}

/** The layout as typed JSON, null where it is none. */
export function parseLayout(text: string): DiskLayout | null {
  try {
    const found = JSON.parse(text) as Partial<DiskLayout> | null
    return found && typeof found === 'object' && (found.kind === 'image' || found.kind === 'plain')
      ? (found as DiskLayout)
      : null
  } catch {
    return null
  }
}
