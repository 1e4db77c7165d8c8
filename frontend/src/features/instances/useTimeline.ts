/** The events of one instance: read once, then told live. */
import { computed, shallowRef, type ComputedRef } from 'vue'
import type { InstanceEvent } from '@/api/types'
import { useResource, type Resource } from '@/shared/useResource'
import { useTopic } from '@/stores/live'
import { getEvents } from './api'

export interface Timeline extends Pick<Resource<unknown>, 'error' | 'isLoading' | 'reload'> {
  /** The oldest first. */
  events: ComputedRef<InstanceEvent[]>
}

export function useTimeline(id: string): Timeline {
  const told = shallowRef<InstanceEvent[]>([])
  const { data, error, isLoading, reload } = useResource(() => getEvents(id))
  useTopic(`events:instance:${id}`, (frame) => {
    if (frame.type === 'error') return
    told.value = [...told.value, ...((frame.data as { items?: InstanceEvent[] }).items ?? [])]
  })
  const events = computed(() => {
    const unique = new Map([...(data.value?.items ?? []), ...told.value].map((event) => [event.id, event]))
    return [...unique.values()].sort((a, b) => a.id - b.id)
  })
  return { events, error, isLoading, reload }
}
