/** xterm.js as this console wants it: deaf to what a program could abuse, one renderer with a fallback. */
import { FitAddon } from '@xterm/addon-fit'
import { SearchAddon } from '@xterm/addon-search'
import { WebLinksAddon } from '@xterm/addon-web-links'
import { WebglAddon } from '@xterm/addon-webgl'
import { Terminal, type ITheme } from '@xterm/xterm'
import '@xterm/xterm/css/xterm.css'
import { isWebAddress } from './words'

export interface Screen {
  terminal: Terminal
  fit: FitAddon
  search: SearchAddon
}

const MONO =
  "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', monospace"
const SCROLLBACK = 10_000

const DARK: ITheme = {
  background: '#0f1419',
  foreground: '#e6eaf0',
  cursor: '#5b93ff',
  selectionBackground: '#2c4a7c',
}
const LIGHT: ITheme = {
  background: '#ffffff',
  foreground: '#1b2430',
  cursor: '#2563eb',
  selectionBackground: '#bcd3fb',
  black: '#1b2430',
  white: '#5b6675',
  yellow: '#a55205',
  brightYellow: '#8a6d00',
  brightWhite: '#3a4450',
  green: '#15803d',
  brightGreen: '#16a34a',
  cyan: '#0e7490',
  brightCyan: '#0891b2',
}

export const themeOf = (isDark: boolean): ITheme => (isDark ? DARK : LIGHT)

/** `isReadAloud`: keep the rows as text for a screen reader. `ask` is asked before an address is opened. */
export function makeScreen(
  size: number,
  isDark: boolean,
  isReadAloud: boolean,
  ask: (address: string) => Promise<boolean>,
): Screen {
  const open = async (address: string): Promise<void> => {
    if (isWebAddress(address) && (await ask(address))) window.open(address, '_blank', 'noopener,noreferrer')
  }
  const terminal = new Terminal({
    fontFamily: MONO,
    fontSize: size,
    theme: themeOf(isDark),
    scrollback: SCROLLBACK,
    cursorBlink: true,
    screenReaderMode: isReadAloud,
    allowProposedApi: true,
    linkHandler: { activate: (_event, address) => void open(address), allowNonHttpProtocols: false },
  })
  const fit = new FitAddon()
  const search = new SearchAddon()
  terminal.loadAddon(fit)
  terminal.loadAddon(search)
  terminal.loadAddon(new WebLinksAddon((_event, address) => void open(address)))
  deafen(terminal)
  return { terminal, fit, search }
}

/** After the terminal stands in the page: draw by WebGL, and without it when that is missing or lost. */
export function drawFast(terminal: Terminal): void {
  try {
    const webgl = new WebglAddon()
    webgl.onContextLoss(() => webgl.dispose())
    terminal.loadAddon(webgl)
  } catch {
    // The DOM renderer goes on.
  }
}

/**
 * Answer no query of a program: an answer is typed into the shell, so that a file with the right bytes in it could
 * type commands. Nor let one read or write the clipboard (OSC 52) or move the window.
 */
function deafen({ parser }: Terminal): void {
  const swallow = (): boolean => true
  for (const final of ['c', 'n', 't']) {
    parser.registerCsiHandler({ final }, swallow)
    for (const prefix of ['?', '>', '=']) parser.registerCsiHandler({ prefix, final }, swallow)
  }
  for (const prefix of ['', '?'])
    parser.registerCsiHandler({ ...(prefix ? { prefix } : {}), intermediates: '$', final: 'p' }, swallow)
  parser.registerCsiHandler({ prefix: '>', final: 'q' }, swallow)
  parser.registerDcsHandler({ intermediates: '$', final: 'q' }, swallow)
  parser.registerDcsHandler({ intermediates: '+', final: 'q' }, swallow)
  parser.registerOscHandler(52, swallow)
  for (const code of [4, 10, 11, 12]) parser.registerOscHandler(code, (data) => data.includes('?'))
}
