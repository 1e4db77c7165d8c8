/** Codes of the server as words of the person: reasons, errors, states, ages. */
import { useI18n } from 'vue-i18n'
import { ApiError } from '@/api/http'
import type { Reason } from '@/api/types'
import { formatDuration } from './format'
import type { StateKind } from './states'

export interface Words {
  reason: (reason: Reason | null | undefined) => string
  errorTitle: (error: unknown) => string
  errorDetail: (error: unknown) => string
  state: (kind: StateKind, state: string) => string
  operationKind: (kind: string) => string
  step: (name: string) => string
}

/** Parameters ready to read: `delay_s` becomes a duration, everything else stays. */
function readable(params: Record<string, string | number> = {}): Record<string, string | number> {
  const entries = Object.entries(params).map(([key, value]) =>
    key.endsWith('_s') && typeof value === 'number' ? [key, formatDuration(value)] : [key, value],
  )
  return Object.fromEntries(entries) as Record<string, string | number>
}

export function useWords(): Words {
  const { t, te } = useI18n()
  /** The translation of a code, or what the server said in its own words. */
  const orElse = (key: string, fallback: string, params = {}): string => (te(key) ? t(key, params) : fallback)
  return {
    reason: (reason) => (reason ? orElse(`reason.${reason.code}`, reason.message, readable(reason.params)) : ''),
    errorTitle: (error) => {
      if (!(error instanceof ApiError)) return t('error.internal')
      return orElse(`error.${error.code}`, error.message, error.details as Record<string, string>)
    },
    errorDetail: (error) => (error instanceof Error ? error.message : String(error)),
    state: (kind, state) => orElse(`state.${kind}.${state}`, state),
    operationKind: (kind) => orElse(`operationKind.${kind.replaceAll('.', '_')}`, kind),
    step: (name) => orElse(`step.${name}`, name),
  }
}
