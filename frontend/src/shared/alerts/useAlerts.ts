/** The alerts that are open now, the most urgent first, and their words; live while the calling component lives. */
import { computed, type ComputedRef } from 'vue'
import { useI18n } from 'vue-i18n'
import type { Alert, Severity } from '@/api/types'
import { useCollection } from '@/stores/live'
import { useWords } from '../words'
import { byUrgency, fillText, isFiring, isQuiet, worstOf } from './rules'

export interface OpenAlerts {
  /** Pending ones too. */
  all: ComputedRef<Alert[]>
  firing: ComputedRef<Alert[]>
  /** Firing, and nobody deals with them. */
  urgent: ComputedRef<Alert[]>
  worst: ComputedRef<Severity | null>
  isReady: ComputedRef<boolean>
  /** Why they cannot be told, by the server. */
  error: ComputedRef<Error | null>
}

export function useAlerts(): OpenAlerts {
  const known = useCollection('alerts')
  const all = computed(() =>
    [...known.byId.value.values()].filter(({ state }) => state !== 'resolved').sort(byUrgency),
  )
  const firing = computed(() => all.value.filter(isFiring))
  const urgent = computed(() => firing.value.filter((alert) => !isQuiet(alert)))
  return {
    all,
    firing,
    urgent,
    worst: computed(() => worstOf(urgent.value)),
    isReady: computed(() => known.isReady.value),
    error: computed(() => (known.error.value ? new Error(known.error.value) : null)),
  }
}

/** What an alert says beside its name: the rule's own sentence, else the reason in the person's language, or nothing. */
export function useAlertText(): (alert: Alert, level?: string) => string {
  const { locale } = useI18n()
  const words = useWords()
  const valuesOf = (alert: Alert, level: string): Record<string, string> => ({
    rule: alert.rule_name,
    severity: words.state('severity', alert.severity),
    subject: alert.subject_name,
    name: alert.subject_name,
    node: alert.node_name,
    value: alert.value === null ? '–' : String(Number(alert.value.toFixed(2))),
    state: words.state('alert', alert.state),
    ...(level ? { level } : {}),
  })
  return (alert, level = '') => {
    const { en, zh } = alert.texts
    const own = locale.value === 'zh' ? zh || en : en || zh
    return own ? fillText(own, valuesOf(alert, level)) : words.reason(alert.reason)
  }
}

/** Rules that came with the product are called in the person's language, unless somebody renamed them. */
export function useRuleName(): (rule: { name: string; name_key?: string }) => string {
  const { t, te } = useI18n()
  return ({ name, name_key: key }) => (key && te(`alerts.shipped.${key}`) ? t(`alerts.shipped.${key}`) : name)
}

export function useAlertName(): (alert: Pick<Alert, 'rule_name' | 'name_key'>) => string {
  const nameOf = useRuleName()
  return ({ rule_name: name, name_key: key }) => nameOf({ name, name_key: key ?? '' })
}
