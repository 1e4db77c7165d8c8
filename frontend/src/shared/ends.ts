/** How a process ended, in words: its exit code or signal, and what such a number usually means. */
import { useI18n } from 'vue-i18n'

const SHELL_BASE = 128
/** Signals whose numbers are the same on every system we run on (POSIX). */
const SIGNALS: Record<number, string> = {
  1: 'SIGHUP',
  2: 'SIGINT',
  3: 'SIGQUIT',
  4: 'SIGILL',
  6: 'SIGABRT',
  8: 'SIGFPE',
  9: 'SIGKILL',
  11: 'SIGSEGV',
  13: 'SIGPIPE',
  14: 'SIGALRM',
  15: 'SIGTERM',
}

/** The signal a shell reports by this exit code: 137 → SIGKILL. Pure. */
export const signalOfCode = (code: number): string | undefined => SIGNALS[code - SHELL_BASE]

export interface Ends {
  /** "exit code 127: the program was not found" */
  end: (code: number | null | undefined, signal: string | null | undefined) => string
  /** Only what it means; empty where nothing general can be said. */
  meaning: (code: number | null | undefined, signal: string | null | undefined) => string
}

export function useEnds(): Ends {
  const { t, te } = useI18n()
  const meansOf = (name: string): string => (te(`end.means.${name}`) ? t(`end.means.${name}`) : '')

  function meaning(code: number | null | undefined, signal: string | null | undefined): string {
    if (signal) return meansOf(signal)
    if (code === null || code === undefined) return ''
    const told = signalOfCode(code)
    return told ? t('end.asShell', { signal: told }) : meansOf(`c${code}`)
  }

  function end(code: number | null | undefined, signal: string | null | undefined): string {
    if (!signal && (code === null || code === undefined)) return t('end.unknown')
    const what = signal ? t('end.signal', { signal }) : t('end.code', { code: code ?? 0 })
    const why = meaning(code, signal)
    return why ? t('end.meant', { what, why }) : what
  }
  return { end, meaning }
}
