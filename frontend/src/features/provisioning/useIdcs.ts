/** The data centres that are known, and the line that brings another one in. */
import { computed, type ComputedRef, type Ref } from 'vue'
import { useResource } from '@/shared/useResource'
import { listIdcs } from './api'
import type { Idc } from './types'

export interface Idcs {
  all: ComputedRef<Idc[]>
  isReady: ComputedRef<boolean>
  error: Ref<unknown>
  reload: () => Promise<void>
  command: ComputedRef<string>
}

export function useIdcs(): Idcs {
  const found = useResource(listIdcs)
  const all = computed(() => found.data.value?.items ?? [])
  return {
    all,
    isReady: computed(() => found.data.value !== null),
    error: found.error,
    reload: found.reload,
    command: computed(() => `regional-client --idc dc1 --store ${location.origin} --token @FILE`),
  }
}
