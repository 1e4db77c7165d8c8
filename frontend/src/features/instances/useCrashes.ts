/** The crash capsules of one instance. They are written a moment after the end they tell of. */
import { computed, onScopeDispose, watch, type ComputedRef } from 'vue'
import type { Crash, Instance } from '@/api/types'
import { useResource, type Resource } from '@/shared/useResource'
import { getCrashes } from './api'

const WRITTEN_AFTER_MS = 1500

export interface CrashList extends Pick<Resource<unknown>, 'error' | 'isLoading' | 'reload'> {
  /** The newest first. */
  crashes: ComputedRef<Crash[]>
}

export function useCrashes(id: string, instance: () => Instance | undefined): CrashList {
  const { data, error, isLoading, reload } = useResource(() => getCrashes(id))
  let timer: ReturnType<typeof setTimeout> | undefined
  /** Ends that follow each other fast ask once. */
  function reloadSoon(): void {
    timer ??= setTimeout(() => {
      timer = undefined
      void reload()
    }, WRITTEN_AFTER_MS)
  }
  watch(() => [instance()?.state, instance()?.restarts, instance()?.exit_code].join(), reloadSoon)
  onScopeDispose(() => clearTimeout(timer))
  return { crashes: computed(() => data.value?.items ?? []), error, isLoading, reload }
}
