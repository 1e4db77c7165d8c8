/** Ask before something that cannot be taken back. One question at a time, shown by ConfirmHost. */
import { shallowRef } from 'vue'

export interface Question {
  title: string
  /** What follows, in a sentence. */
  text: string
  /** The names of what it strikes. */
  objects?: string[]
  button: string
  isDangerous?: boolean
  /** To be typed before the button works: only where data is lost. */
  typed?: string
}

export interface Asked extends Question {
  answer: (yes: boolean) => void
}

export const asked = shallowRef<Asked | null>(null)

/** True when the person confirmed. */
export function confirm(question: Question): Promise<boolean> {
  asked.value?.answer(false)
  return new Promise((resolve) => {
    asked.value = {
      ...question,
      answer: (yes) => {
        asked.value = null
        resolve(yes)
      },
    }
  })
}
