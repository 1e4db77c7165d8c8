/** What happened on a node, as marks of its charts: operations that worked on it, and ends of its instances. */
import { computed, shallowRef, watch, type ComputedRef } from 'vue'
import type { Instance, InstanceEvent } from '@/api/types'
import { marksOfEvents, marksOfOperations, type Mark } from '@/shared/charts/marks'
import { useNames } from '@/shared/instances/useNames'
import { useOperationTitle } from '@/shared/useOperationTitle'
import { useWords } from '@/shared/words'
import { useCollection } from '@/stores/live'
import { getEvents } from './api'

/** The timelines of at most so many instances are asked for. */
const MOST_ASKED = 12

export function useNodeMarks(id: string, instances: () => Instance[]): ComputedRef<Mark[]> {
  const operations = useCollection('operations')
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
    return [
      ...marksOfOperations(operations.byId.value.values(), ({ node_id }) => node_id === id, titleOf),
      ...ends,
    ]
  })
}
