/** Which channels may have carried an alert. Pure. */
import type { Channel } from '@/api/types'

/** The channels a rule tells: those it names, else every one; one that was switched off may have carried it before. */
export function channelsOf(named: string[], channels: Channel[]): Channel[] {
  return named.length > 0 ? channels.filter(({ id }) => named.includes(id)) : channels
}
