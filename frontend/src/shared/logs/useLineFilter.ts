/** The lines that hold a text, found a slice at a time, so that a million of them do not stop the page. */
import { onScopeDispose, ref, shallowRef, watch, type Ref, type ShallowRef } from 'vue'
import { plainText } from '../ansi'
import type { LineStore } from './lines'

export interface LineFilter {
  text: Ref<string>
  /** Numbers of the lines that pass; null: all. */
  numbers: ShallowRef<number[] | null>
}

const SLICE_MS = 8
const LOOK_EVERY = 256

export function useLineFilter(store: ShallowRef<LineStore>): LineFilter {
  const text = ref('')
  const numbers = shallowRef<number[] | null>(null)
  let found: number[] = []
  let looked: LineStore | null = null
  let from = 0
  let to = 0
  let timer: ReturnType<typeof setTimeout> | undefined

  function passes(line: string, wanted: string): boolean {
    return (line.includes('\u001b') ? plainText(line) : line).toLowerCase().includes(wanted)
  }

  /** Look at what came at either end since the last look. */
  function look(): void {
    const wanted = text.value.toLowerCase()
    const lines = store.value
    const until = performance.now() + SLICE_MS
    const earlier: number[] = []
    for (; to < lines.end && !isDue(to, until); to += 1) {
      const line = lines.at(to)
      if (line && (line.dropped !== 0 || passes(line.text, wanted))) found.push(to)
    }
    for (; from > lines.first && to >= lines.end && !isDue(from, until); from -= 1) {
      const line = lines.at(from - 1)
      if (line && passes(line.text, wanted)) earlier.push(from - 1)
    }
    const gone = found.findIndex((number) => number >= lines.first)
    found = [...earlier.reverse(), ...(gone > 0 ? found.slice(gone) : gone < 0 ? [] : found)]
    numbers.value = found
    if (to < lines.end || from > lines.first) timer = setTimeout(look, 0)
  }

  const isDue = (number: number, until: number): boolean =>
    number % LOOK_EVERY === 0 && performance.now() > until

  function begin(): void {
    clearTimeout(timer)
    found = []
    looked = store.value
    from = to = store.value.first
    if (text.value) look()
    else numbers.value = null
  }

  watch(text, begin)
  watch(store, () => {
    if (store.value !== looked) return begin()
    if (!text.value) return
    clearTimeout(timer)
    from = Math.max(from, store.value.first)
    look()
  })
  onScopeDispose(() => clearTimeout(timer))
  return { text, numbers }
}
