/** One act of a person: is it under way, and what went wrong. */
import { ref, shallowRef, type Ref, type ShallowRef } from 'vue'

export interface Action<A extends unknown[], R> {
  run: (...args: A) => Promise<R | undefined>
  isBusy: Ref<boolean>
  error: ShallowRef<unknown>
}

/** `run` answers undefined after a failure, which then stands in `error`; a second click waits for the first. */
export function useAction<A extends unknown[], R>(act: (...args: A) => Promise<R>): Action<A, R> {
  const isBusy = ref(false)
  const error = shallowRef<unknown>(null)
  async function run(...args: A): Promise<R | undefined> {
    if (isBusy.value) return undefined
    isBusy.value = true
    error.value = null
    try {
      return await act(...args)
    } catch (problem) {
      error.value = problem
      return undefined
    } finally {
      isBusy.value = false
    }
  }
  return { run, isBusy, error }
}
