/** Codes of the server as words of the person: reasons, errors, states, ages. */
import { useI18n } from 'vue-i18n'
import { ApiError } from '@/api/http'
import type { Reason } from '@/api/types'
import { formatDuration } from './format'
import type { StateKind } from './states'

/** A reason as far as it is told: some have no parameters. */
type Told = Pick<Reason, 'code' | 'message'> & Partial<Pick<Reason, 'params'>>

export interface Words {
  reason: (reason: Told | null | undefined) => string
  errorTitle: (error: unknown) => string
  errorDetail: (error: unknown) => string
  state: (kind: StateKind, state: string) => string
  operationKind: (kind: string) => string
  step: (name: string) => string
}

/** Errors whose translated title says it all. */
const SAYS_ALL = ['unauthenticated', 'network', 'cancelled', 'step_up_required']

type Params = Record<string, string | number>

/** Has a sentence all the parameters it names? One without its number says less than the server's own words. */
export function isFilled(sentence: string, params: Params): boolean {
  return [...sentence.matchAll(/\{(\w+)\}/g)].every(([, name]) => params[name ?? ''] !== undefined)
}

/** Parameters ready to read: `delay_s` becomes a duration that no line break tears apart, everything else stays. */
function readable(params: Params = {}): Params {
  const entries = Object.entries(params).map(([key, value]) =>
    key.endsWith('_s') && typeof value === 'number'
      ? [key, formatDuration(value).replaceAll(' ', '\u00a0')]
      : [key, value],
  )
  return Object.fromEntries(entries) as Params
}

export function useWords(): Words {
  const { t, te, tm, locale } = useI18n()
  /** The translation of a code, or what the server said in its own words. */
  const orElse = (key: string, fallback: string, params: Params = {}): string =>
    te(key) && isFilled(String(tm(key)), params) ? t(key, params) : fallback
  const operationKind = (kind: string): string => orElse(`operationKind.${kind.replaceAll('.', '_')}`, kind)
  return {
    reason: (reason) => {
      if (!reason) return ''
      const params = { ...readable(reason.params), message: reason.message }
      return orElse(`reason.${reason.code}`, reason.message, params)
    },
    errorTitle: (error) => {
      if (!(error instanceof ApiError)) return t('error.internal')
      return orElse(`error.${error.code}`, error.message, error.details as Params)
    },
    errorDetail: (error) => {
      if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error)
      if (SAYS_ALL.includes(error.code)) return ''
      const told = { ...(error.details as Params), message: error.message }
      const reason = error.details['reason']
      // The server speaks English, and says more than a sentence without names and numbers.
      const isSaid = locale.value === 'en' || typeof reason !== 'string'
      return isSaid ? error.message : orElse(`reason.${reason}`, error.message, told)
    },
    state: (kind, state) => orElse(`state.${kind}.${state}`, state),
    operationKind,
    step: (name) => orElse(`step.${name}`, name),
  }
}
