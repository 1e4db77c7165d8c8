/** Copying text. Plain http from another host has no clipboard: then the caller's `select` runs instead. */
import { onScopeDispose, ref, type Ref } from 'vue'

const SHOWN_MS = 1500

export function useCopy(select: () => void): {
  isCopied: Ref<boolean>
  copy: (text: string) => Promise<void>
} {
  const isCopied = ref(false)
  let timer: ReturnType<typeof setTimeout> | undefined
  onScopeDispose(() => clearTimeout(timer))

  async function copy(text: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text)
      isCopied.value = true
      timer = setTimeout(() => (isCopied.value = false), SHOWN_MS)
    } catch {
      select()
    }
  }
  return { isCopied, copy }
}
