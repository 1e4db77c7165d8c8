/** Listen for the keys of the keymap. One listener for the page; the last to ask for a key gets it. */
import { onScopeDispose } from 'vue'
import { KEYMAP, type KeyId } from './keymap'

type Handler = (event: KeyboardEvent) => void

const handlers = new Map<KeyId, Handler[]>()
const SEQUENCE_MS = 1200
let prefix = ''
let prefixAt = 0

/** True where typing belongs to the person and not to the console. */
function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)
}

/** The stroke as the keymap writes it: `mod+k`, `?`, `Escape`. */
export function strokeOf(event: KeyboardEvent): string {
  const isMod = event.ctrlKey || event.metaKey
  const key = event.key.length === 1 && isMod ? event.key.toLowerCase() : event.key
  return (isMod ? 'mod+' : '') + (event.altKey ? 'alt+' : '') + key
}

function takeHandler(keys: string): { id: KeyId; run: Handler } | null {
  for (const { id, keys: bound } of KEYMAP) {
    const run = bound === keys ? handlers.get(id)?.at(-1) : undefined
    if (run) return { id, run }
  }
  return null
}

/** Enter and Space on a focused button or link are theirs. */
function isPressable(event: KeyboardEvent): boolean {
  return (
    event.key === 'Enter' && event.target instanceof HTMLElement && /^(A|BUTTON)$/.test(event.target.tagName)
  )
}

/** An open dialog has the keyboard to itself. */
function isDialogOpen(): boolean {
  return [...document.querySelectorAll('[aria-modal="true"]')].some(
    (dialog) => dialog.getClientRects().length > 0,
  )
}

function onKey(event: KeyboardEvent): void {
  if (event.isComposing || event.defaultPrevented || isDialogOpen()) return
  const stroke = strokeOf(event)
  const reachesInputs = stroke.startsWith('mod+') || stroke === 'Escape'
  if ((isTyping(event.target) && !reachesInputs) || isPressable(event)) return
  const isPair = prefix !== '' && event.timeStamp - prefixAt < SEQUENCE_MS
  const found = (isPair ? takeHandler(`${prefix} ${stroke}`) : null) ?? takeHandler(stroke)
  prefix = !found && KEYMAP.some(({ keys }) => keys.startsWith(`${stroke} `)) ? stroke : ''
  prefixAt = event.timeStamp
  if (!found) return
  event.preventDefault()
  found.run(event)
}

/** Start listening; the composition root calls it once. */
export function listenForKeys(): void {
  document.addEventListener('keydown', onKey)
}

/** Handle a key while the calling component lives. */
export function useKey(id: KeyId, run: Handler): void {
  handlers.set(id, [...(handlers.get(id) ?? []), run])
  onScopeDispose(() => {
    handlers.set(
      id,
      (handlers.get(id) ?? []).filter((other) => other !== run),
    )
  })
}

/** What the keymap binds to an id. */
export function keysOf(id: KeyId): string {
  return KEYMAP.find((binding) => binding.id === id)?.keys ?? ''
}

/** `mod+k` as this computer writes it. */
export function spellKeys(keys: string): string {
  const isMac = navigator.platform.startsWith('Mac')
  const named = keys.replace(/^mod\+(.)$/, (_all, key: string) => (isMac ? '⌘' : 'Ctrl+') + key.toUpperCase())
  return named.replace('Escape', 'Esc').replace('ArrowLeft', '←').replace('ArrowRight', '→')
}
