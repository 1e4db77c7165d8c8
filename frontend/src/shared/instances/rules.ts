/** Which act makes sense for which instance, and which instances want a person's eye. Pure. */
import type { Instance, InstanceAction } from '@/api/types'

export type Act = InstanceAction | 'destroy'

const AT_REST = ['stopped', 'exited', 'failed']

/** What is only watched can be started again by others alone. */
function canRestart({ watched_only, takeover }: Instance): boolean {
  return !watched_only || (takeover?.restart_command ?? []).length > 0
}

/** Acts offered at once; the server has the last word. */
export function actsFor(instance: Instance): Act[] {
  if (instance.desired === 'absent') return ['kill']
  if (instance.state === 'stopping') return ['kill', 'destroy']
  if (AT_REST.includes(instance.state) || instance.desired === 'stopped') return ['start', 'destroy']
  return canRestart(instance) ? ['stop', 'restart', 'kill', 'destroy'] : ['stop', 'kill', 'destroy']
}

/** Broken, or not as wished. */
export function needsAttention(instance: Instance): boolean {
  return ['failed', 'backoff'].includes(instance.state) || instance.health === 'unhealthy'
}

/** How many of each state. */
export function countBy<T>(items: Iterable<T>, read: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const item of items) counts[read(item)] = (counts[read(item)] ?? 0) + 1
  return counts
}

/** What an act means for something others started, where it is not what it means for our own. */
export type Caution = 'destroy' | 'stop'

export function cautionsOf(act: Act, instances: Instance[]): Caution[] {
  const adopted = instances.filter(({ origin }) => origin === 'adopted')
  if (act === 'destroy' && adopted.length > 0) return ['destroy']
  const isEnd = act === 'stop' || act === 'kill'
  return isEnd && adopted.some(({ watched_only }) => watched_only) ? ['stop'] : []
}
