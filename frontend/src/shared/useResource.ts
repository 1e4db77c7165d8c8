/** Something read by GET: the last answer, its age, and why it could not be read. */
import { onScopeDispose, ref, shallowRef, watch, type Ref, type ShallowRef, type WatchSource } from 'vue'

export interface Resource<T> {
  data: ShallowRef<T | null>
  error: ShallowRef<unknown>
  isLoading: Ref<boolean>
  reload: () => Promise<void>
}

/** Read now and whenever a source changes. An answer that was overtaken by a later question is dropped. */
export function useResource<T>(read: () => Promise<T>, sources: WatchSource[] = []): Resource<T> {
  const data = shallowRef<T | null>(null)
  const error = shallowRef<unknown>(null)
  const isLoading = ref(true)
  let asked = 0
  async function reload(): Promise<void> {
    const mine = ++asked
    isLoading.value = true
    try {
      const answer = await read()
      if (mine !== asked) return
      data.value = answer
      error.value = null
    } catch (problem) {
      if (mine === asked) error.value = problem
    } finally {
      if (mine === asked) isLoading.value = false
    }
  }
  watch(sources, reload)
  onScopeDispose(() => (asked += 1))
  void reload()
  return { data, error, isLoading, reload }
}
