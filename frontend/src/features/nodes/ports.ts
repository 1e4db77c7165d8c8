/** Ports a process listens on, as text. Pure. */
import type { Process } from '@/api/types'

const EVERYWHERE = ['0.0.0.0', '::', '']

/** `80 443 53/udp 127.0.0.1:3306`: the address only where it is not every one. */
export function spellPorts({ ports }: Process): string {
  const spelled = ports.map(({ protocol, address, port }) => {
    const host = EVERYWHERE.includes(address) ? '' : `${address.includes(':') ? `[${address}]` : address}:`
    return `${host}${port}${protocol === 'udp' ? '/udp' : ''}`
  })
  return [...new Set(spelled)].join(' ')
}

/** The numbers alone, for a narrow column. */
export const portNumbers = ({ ports }: Process): string =>
  [...new Set(ports.map(({ port }) => port))].sort((a, b) => a - b).join(' ')

/** Where a TCP probe reaches the process; empty where it listens nowhere. */
export function probeTarget({ ports }: Process): string {
  const first = ports.find(({ protocol }) => protocol === 'tcp')
  if (!first) return ''
  if (EVERYWHERE.includes(first.address)) return `127.0.0.1:${first.port}`
  return `${first.address.includes(':') ? `[${first.address}]` : first.address}:${first.port}`
}
