/** Whether a node's worker comes back at boot, and what to run where it does not. Pure. */
import type { Node } from '@/api/types'

export interface Boot {
  /** `none`: no service manager we know; `unsaid`: a worker too old to say. */
  state: 'absent' | 'installed' | 'enabled' | 'active' | 'none' | 'unsaid'
  /** Run on the node as it stands here; empty where there is nothing to do. */
  command: string
  /** Where the unit is. */
  place: string
}

const INSTALL = 'ops-worker -autostart 1'
const START: Record<string, (unit: string) => string> = {
  systemd: (unit) => `systemctl start ${unit}`,
  launchd: (unit) => `launchctl kickstart system/${unit}`,
  windows: (unit) => `sc start ${unit}`,
}

export function bootOf(node: Node): Boot {
  const told = node.fingerprint?.boot_service
  if (!told) return { state: 'unsaid', command: '', place: '' }
  if (told.kind === '') return { state: 'none', command: '', place: '' }
  const place = [told.kind, told.unit, told.path].filter(Boolean).join(' · ')
  if (told.state === 'active') return { state: 'active', command: '', place }
  const command = told.state === 'enabled' ? (START[told.kind]?.(told.unit) ?? '') : INSTALL
  return { state: told.state, command, place }
}

/** Will its services be without care after a boot? */
export const isLostAtBoot = ({ state }: Boot): boolean => state === 'absent' || state === 'installed'
