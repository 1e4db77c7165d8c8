/** What an alert says: its own words, else the sentence of its rule. */
import type { Alert } from '@/api/types'
import { useAlertText } from '@/shared/alerts/useAlerts'
import type { Rules } from './useRules'
import { useRuleWords } from './useRuleWords'

export function useAlertSays(rules: Rules): (alert: Alert) => string {
  const textOf = useAlertText()
  const words = useRuleWords()
  return (alert) => {
    const rule = rules.byId.value.get(alert.rule_id)
    return textOf(alert) || (rule ? words.sentence(rule) : '')
  }
}
