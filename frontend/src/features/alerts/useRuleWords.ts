/** Rules as sentences: what is looked at, when it is bad enough, for how long. */
import { useI18n } from 'vue-i18n'
import type { NewAlertRule } from '@/api/types'
import { formatLevel, unitOf } from '@/shared/alerts/levels'
import { formatDuration, formatLabels } from '@/shared/format'
import { useWords } from '@/shared/words'
import { useNames } from '@/shared/instances/useNames'
import { isOfInstances, stateKindOf } from './ruleDraft'

export interface RuleWords {
  series: (name: string) => string
  subjects: (rule: Pick<NewAlertRule, 'scope' | 'condition'>) => string
  /** "CPU of every node is at least 90 % (newest value), for 5 min" */
  sentence: (rule: Pick<NewAlertRule, 'scope' | 'condition' | 'for_s'>) => string
}

const OPERATOR_NAMES = { '>': 'above', '>=': 'atLeast', '<': 'below', '<=': 'atMost' } as const

export function useRuleWords(): RuleWords {
  const { t, te } = useI18n()
  const words = useWords()
  const names = useNames()

  const series = (name: string): string =>
    /^\w+$/.test(name) && te(`alerts.series.${name}`) ? t(`alerts.series.${name}`) : name

  function subjects({ scope, condition }: Pick<NewAlertRule, 'scope' | 'condition'>): string {
    const stands = condition.kind === 'idc_status' ? 'idcs' : 'nodes'
    const kind = isOfInstances(condition.kind) ? 'instances' : stands
    const limits = [
      ...(scope.node_ids.length > 0 ? [scope.node_ids.map(names.node).join(', ')] : []),
      ...(Object.keys(scope.labels).length > 0 ? [formatLabels(scope.labels)] : []),
      ...(scope.system_id ? [names.system(scope.system_id)] : []),
      ...(scope.module_id ? [names.modules.byId.value.get(scope.module_id)?.name ?? scope.module_id] : []),
    ]
    const all = t(`alerts.every.${kind}`)
    return limits.length === 0 ? all : t('alerts.limited', { subjects: all, limits: limits.join(' · ') })
  }

  function reading({ window_s: windowS, mode, share_percent: share }: NewAlertRule['condition']): string {
    if (!windowS) return t('alerts.reading.newest')
    return t(`alerts.reading.${mode}`, { window: formatDuration(windowS), share })
  }

  function sentence(rule: Pick<NewAlertRule, 'scope' | 'condition' | 'for_s'>): string {
    const { condition } = rule
    const stateKind = stateKindOf(condition.kind)
    return t(`alerts.sentence.${condition.kind}`, {
      series: condition.series ? series(condition.series) : t('alerts.anySeries'),
      subjects: subjects(rule),
      op: t(`alerts.operator.${OPERATOR_NAMES[condition.op]}`),
      level: formatLevel(unitOf(condition.kind, condition.series), condition.fire_level),
      reading: reading(condition),
      states: condition.states.map((state) => words.state(stateKind, state)).join(' / '),
      window: formatDuration(condition.window_s),
      log: condition.log,
      pattern: condition.regex ? `/${condition.pattern}/` : `“${condition.pattern}”`,
      holds: rule.for_s > 0 ? t('alerts.holds', { span: formatDuration(rule.for_s) }) : t('alerts.atOnce'),
    })
  }
  return { series, subjects, sentence }
}
