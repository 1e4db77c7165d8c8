/** Which messages of channels carried an alert: those made in the moments it was told. Pure. */
import type { AlertTransition, Channel, Delivery } from '@/api/types'

export interface Sent {
  channel: Channel
  delivery: Delivery
}

/** What happens together is one message, made a moment after it was told; a channel gets one in ten seconds. */
const BEFORE_MS = 1000
const AFTER_MS = 15_000

export function sentAround(lines: AlertTransition[], channel: Channel, deliveries: Delivery[]): Sent[] {
  const told = lines.filter(({ kind }) => kind === 'told').map(({ at }) => Date.parse(at))
  return deliveries
    .filter(({ created_at: at }) => {
      const made = Date.parse(at)
      return told.some((moment) => made >= moment - BEFORE_MS && made <= moment + AFTER_MS)
    })
    .map((delivery) => ({ channel, delivery }))
}

/** The channels a rule tells: those it names, else every one that is on. */
export function channelsOf(named: string[], channels: Channel[]): Channel[] {
  return named.length > 0
    ? channels.filter(({ id }) => named.includes(id))
    : channels.filter(({ enabled }) => enabled)
}
