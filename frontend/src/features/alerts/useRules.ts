/** Every rule by id, read once and again when asked. */
import { computed, type ComputedRef, type ShallowRef } from 'vue'
import type { AlertRule } from '@/api/types'
import { useResource } from '@/shared/useResource'
import { listRules } from './api'

const MOST = 500

export interface Rules {
  byId: ComputedRef<Map<string, AlertRule>>
  error: ShallowRef<unknown>
  reload: () => Promise<void>
}

export function useRules(): Rules {
  const { data, error, reload } = useResource(() => listRules({ limit: MOST }))
  const byId = computed(() => new Map((data.value?.items ?? []).map((rule) => [rule.id, rule])))
  return { byId, error, reload }
}
