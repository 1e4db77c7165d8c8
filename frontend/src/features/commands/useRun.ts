/** One run: read once, told live, read again when its operation has ended. */
import { computed, shallowRef, type ComputedRef } from 'vue'
import type { CommandResult, CommandRunDetails } from '@/api/types'
import { useResource, type Resource } from '@/shared/useResource'
import { useCollection, useTopic } from '@/stores/live'
import { getRun } from './api'
import { isEnded, mergeResult } from './results'

export interface Run extends Pick<Resource<CommandRunDetails>, 'data' | 'error' | 'isLoading' | 'reload'> {
  state: ComputedRef<string>
  results: ComputedRef<CommandResult[]>
}

export function useRun(id: string): Run {
  const operations = useCollection('operations')
  const operation = computed(() => operations.byId.value.get(id))
  const hasEnded = computed(() => operation.value !== undefined && isEnded(operation.value.state))
  const read = useResource(() => getRun(id), [hasEnded])
  const told = shallowRef(new Map<string, CommandResult>())
  useTopic(`exec:${id}`, (frame) => {
    if (frame.type === 'error') return
    const items = (frame.data as { items?: CommandResult[] }).items ?? []
    told.value = new Map([...told.value, ...items.map((item) => [item.node_id, item] as const)])
  })
  const results = computed(() => {
    const targets = new Map(operation.value?.targets.map((target) => [target.id, target]))
    const items = read.data.value?.results ?? []
    return items.map((item) => mergeResult(item, told.value.get(item.node_id), targets.get(item.node_id)))
  })
  const state = computed(() => operation.value?.state ?? read.data.value?.state ?? 'pending')
  return { ...read, state, results }
}
