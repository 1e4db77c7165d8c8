/** What happened to one node: a page read from the server, and what is told live while the first page is shown. */
import { computed, ref, shallowRef, type ComputedRef, type Ref } from 'vue'
import type { NodeEvent } from '@/api/types'
import { PAGE_SIZE } from '@/shared/pages'
import { useResource, type Resource } from '@/shared/useResource'
import { useTopic } from '@/stores/live'
import { getNodeEvents } from './api'

export interface NodeEvents extends Pick<Resource<unknown>, 'error' | 'isLoading' | 'reload'> {
  /** The newest first. */
  events: ComputedRef<NodeEvent[]>
  total: ComputedRef<number>
  offset: Ref<number>
}

/** The lines of both, each once, the newest first. */
export function mergeEvents(read: NodeEvent[], told: NodeEvent[], kind: string): NodeEvent[] {
  const wanted = told.filter((event) => kind === '' || event.kind === kind)
  const unique = new Map([...read, ...wanted].map((event) => [event.id, event]))
  return [...unique.values()].sort((a, b) => b.id - a.id)
}

export function useNodeEvents(id: string, kind: Ref<string>): NodeEvents {
  const offset = ref(0)
  const told = shallowRef<NodeEvent[]>([])
  const page = useResource(
    () => getNodeEvents(id, { kind: kind.value, offset: offset.value, limit: PAGE_SIZE }),
    [kind, offset],
  )
  useTopic(`events:node:${id}`, (frame) => {
    if (frame.type === 'error') return
    told.value = [...told.value, ...((frame.data as { items?: NodeEvent[] }).items ?? [])].slice(-PAGE_SIZE)
  })
  const read = computed(() => page.data.value?.items ?? [])
  const events = computed(() =>
    offset.value === 0 ? mergeEvents(read.value, told.value, kind.value) : read.value,
  )
  const total = computed(() =>
    Math.max(page.data.value?.total ?? 0, offset.value === 0 ? events.value.length : 0),
  )
  return { events, total, offset, error: page.error, isLoading: page.isLoading, reload: page.reload }
}
