/** The question "your password again", asked by any request the server wants proved anew. */
import { shallowRef } from 'vue'

export const stepUpQuestion = shallowRef<((proved: boolean) => void) | null>(null)
let pending: Promise<boolean> | null = null

/** Several requests refused together share one question. */
export function askStepUp(): Promise<boolean> {
  pending ??= new Promise<boolean>((resolve) => {
    stepUpQuestion.value = resolve
  }).finally(() => {
    stepUpQuestion.value = null
    pending = null
  })
  return pending
}
