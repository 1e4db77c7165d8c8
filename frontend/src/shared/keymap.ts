/** Every key of the console, in one list: the help shows it, a test refuses a key bound twice. */

export type Scope = 'everywhere' | 'table' | 'log' | 'chart'

export interface Binding {
  id: string
  keys: string
  scope: Scope
}

/** `g n` is two strokes; `mod` is Ctrl, on a Mac Cmd. None fires in inputs, except those with `mod` and Escape. */
export const KEYMAP = [
  { id: 'palette', keys: 'mod+k', scope: 'everywhere' },
  { id: 'help', keys: '?', scope: 'everywhere' },
  { id: 'filter', keys: '/', scope: 'everywhere' },
  { id: 'close', keys: 'Escape', scope: 'everywhere' },
  { id: 'goOverview', keys: 'g o', scope: 'everywhere' },
  { id: 'goNodes', keys: 'g n', scope: 'everywhere' },
  { id: 'goSystems', keys: 'g s', scope: 'everywhere' },
  { id: 'goPackages', keys: 'g p', scope: 'everywhere' },
  { id: 'goAlerts', keys: 'g a', scope: 'everywhere' },
  { id: 'goTerminal', keys: 'g t', scope: 'everywhere' },
  { id: 'goProvisioning', keys: 'g i', scope: 'everywhere' },
  { id: 'goCommands', keys: 'g x', scope: 'everywhere' },
  { id: 'goOperations', keys: 'g r', scope: 'everywhere' },
  { id: 'goSchedules', keys: 'g h', scope: 'everywhere' },
  { id: 'goBackups', keys: 'g b', scope: 'everywhere' },
  { id: 'goConfig', keys: 'g f', scope: 'everywhere' },
  { id: 'goAudit', keys: 'g u', scope: 'everywhere' },
  { id: 'goSettings', keys: 'g e', scope: 'everywhere' },
  { id: 'rail', keys: '[', scope: 'everywhere' },
  { id: 'next', keys: 'j', scope: 'table' },
  { id: 'previous', keys: 'k', scope: 'table' },
  { id: 'open', keys: 'Enter', scope: 'table' },
  { id: 'select', keys: 'x', scope: 'table' },
  { id: 'pauseLog', keys: 'p', scope: 'log' },
  { id: 'endOfLog', keys: 'G', scope: 'log' },
  { id: 'wrapLog', keys: 'w', scope: 'log' },
  { id: 'nextHit', keys: 'n', scope: 'log' },
  { id: 'previousHit', keys: 'N', scope: 'log' },
  // Theirs while they have the focus.
  { id: 'chartLeft', keys: 'ArrowLeft', scope: 'chart' },
  { id: 'chartRight', keys: 'ArrowRight', scope: 'chart' },
  { id: 'chartOpen', keys: 'Enter', scope: 'chart' },
] as const satisfies readonly Binding[]

export type KeyId = (typeof KEYMAP)[number]['id']
