/** Which open alerts a silence would quiet, as the server decides it: everything that is given fits. Pure. */
import type { Alert, NewSilence } from '@/api/types'

export function fitsNow(matchers: NewSilence['matchers'], alert: Alert): boolean {
  const { rule_ids: rules, node_ids: nodes, system_id: system, instance_id: instance } = matchers
  return (
    (rules.length === 0 || rules.includes(alert.rule_id)) &&
    (nodes.length === 0 || nodes.includes(alert.node_id)) &&
    (!system || alert.system_id === system) &&
    (!instance || alert.instance_id === instance) &&
    (matchers.severity === null || matchers.severity === alert.severity) &&
    Object.entries(matchers.labels).every(([key, value]) => alert.labels[key] === value)
  )
}
