/** What travels over a terminal's WebSocket beside its bytes, and what a person must be asked first. Pure. */

export type FromWorker =
  | {
      type: 'ready'
      session: string
      name: string
      user: string
      cols: number
      rows: number
      replay_bytes: number
      read_only: boolean
      record: boolean
      recording: boolean
    }
  | { type: 'resize'; cols: number; rows: number }
  | { type: 'viewers'; count: number }
  | { type: 'recording'; on: boolean }
  | { type: 'exit'; exit_code: number | null; exit_signal: string | null }
  | { type: 'closed'; code: string; message: string }

const MAX_TITLE = 80

/** A title is text of one line, whatever a program calls itself. */
export function safeTitle(title: string): string {
  return title.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '').slice(0, MAX_TITLE)
}

/** Does this text need a question before it is typed into a shell? */
export function isRisky(text: string): boolean {
  return /[\r\n]/.test(text.replace(/[\r\n]+$/, '')) || /[\r\n]$/.test(text)
}

/** What is typed goes in messages of this size: the master takes a mebibyte, and what waits behind them is not held up. */
const MESSAGE_BYTES = 64 * 1024

/** Cut what is typed or pasted into messages. */
export function* inMessages(bytes: Uint8Array<ArrayBuffer>): Generator<Uint8Array<ArrayBuffer>> {
  for (let at = 0; at < bytes.length; at += MESSAGE_BYTES) yield bytes.subarray(at, at + MESSAGE_BYTES)
}

/** A terminal's binary string, a byte a character, as the mouse reports of old programs are. */
export const bytesOf = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(text, (character) => character.charCodeAt(0))

const MAX_SHOWN_LINES = 12
const MAX_SHOWN_CHARS = 200

/** What is shown of a paste before it is typed; nobody reads megabytes in a dialog. */
export const excerpt = (lines: string[]): string[] =>
  lines
    .slice(0, MAX_SHOWN_LINES)
    .map((line) => (line.length > MAX_SHOWN_CHARS ? `${line.slice(0, MAX_SHOWN_CHARS)}…` : line))

/** Only these may be opened from a terminal, and only after asking. */
export function isWebAddress(text: string): boolean {
  try {
    return ['http:', 'https:'].includes(new URL(text).protocol)
  } catch {
    return false
  }
}

/** One open tab as it stands in the address: node, and session once it is known. */
export interface OpenTab {
  node: string
  session: string
}

export const spellTabs = (tabs: OpenTab[]): string =>
  tabs.map(({ node, session }) => `${node}~${session}`).join(',')

export function readTabs(text: string): OpenTab[] {
  return text
    .split(',')
    .map((part) => part.split('~'))
    .flatMap(([node, session = '']) => (node ? [{ node, session }] : []))
}
