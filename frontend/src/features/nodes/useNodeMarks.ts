/** What happened on a node, as marks of its charts: operations, alerts, its own silence, ends of its instances. */
import { computed, ref, shallowRef, watch, type ComputedRef } from 'vue'
import type { Instance, InstanceEvent, NodeEvent } from '@/api/types'
import { marksOfAlerts, marksOfEvents, marksOfOperations, type Mark } from '@/shared/charts/marks'
import { useNames } from '@/shared/instances/useNames'
import { useOperationTitle } from '@/shared/useOperationTitle'
import { useWords } from '@/shared/words'
import { useCollection } from '@/stores/live'
import { getEvents } from './api'
import { useNodeEvents } from './useNodeEvents'

/** The timelines of at most so many instances are asked for. */
const MOST_ASKED = 12
const SILENCE: Record<string, Mark['tone']> = { suspect: 'warn', offline: 'bad', quarantined: 'bad' }

function toneOf({ kind, status }: NodeEvent): Mark['tone'] | undefined {
  if (kind === 'update') return 'busy'
  return kind === 'status' ? SILENCE[status ?? ''] : undefined
}

/** When the node fell silent or was shut out, and when it became another version. */
export function marksOfNode(events: NodeEvent[], textOf: (event: NodeEvent) => string): Mark[] {
  return events.flatMap((event) => {
    const tone = toneOf(event)
    return tone ? [{ at: Date.parse(event.at) / 1000, tone, text: textOf(event) }] : []
  })
}

export function useNodeMarks(id: string, instances: () => Instance[]): ComputedRef<Mark[]> {
  const operations = useCollection('operations')
  const alerts = useCollection('alerts')
  const history = useNodeEvents(id, ref(''))
  const names = useNames()
  const titleOf = useOperationTitle()
  const words = useWords()
  const timelines = shallowRef(new Map<string, InstanceEvent[]>())

  async function ask(instance: Instance): Promise<void> {
    const page = await getEvents(instance.id).catch(() => ({ items: [] }))
    timelines.value = new Map(timelines.value).set(instance.id, page.items)
  }
  /** Asked anew where an instance has begun or ended since. */
  const asked = new Map<string, string>()
  watch(
    () => instances().map((one) => `${one.id} ${one.state} ${one.restarts}`),
    () => {
      for (const one of instances().slice(0, MOST_ASKED)) {
        const state = `${one.state} ${one.restarts}`
        if (asked.get(one.id) !== state) void ask(one)
        asked.set(one.id, state)
      }
    },
    { immediate: true },
  )
  return computed(() => {
    const own = new Map(instances().map((instance) => [instance.id, instance]))
    const ends = [...timelines.value].flatMap(([key, events]) => {
      const instance = own.get(key)
      const name = instance ? names.instance(instance) : key
      return marksOfEvents(events, (event) => `${name} ${words.reason(event.reason)}`.trim())
    })
    const spell = ({ reason, status }: NodeEvent): string =>
      words.reason(reason) || words.state('node', status ?? '')
    return [
      ...marksOfAlerts(alerts.byId.value.values(), ({ node_id }) => node_id === id),
      ...marksOfNode(history.events.value, spell),
      ...marksOfOperations(operations.byId.value.values(), ({ node_id }) => node_id === id, titleOf),
      ...ends,
    ]
  })
}
