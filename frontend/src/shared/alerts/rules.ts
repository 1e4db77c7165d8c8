/** Which alert comes first, which still wants a person, and how many there are. Pure. */
import type { Alert, Severity } from '@/api/types'

export const SEVERITIES = ['critical', 'warning', 'info'] as const satisfies Severity[]

const rank = (severity: Severity): number => SEVERITIES.indexOf(severity)

/** It fires: for a breach, or for want of data. */
export const isFiring = ({ state }: Alert): boolean => state === 'firing' || state === 'no_data'

/** Somebody deals with it, or nobody shall be told. */
export const isQuiet = (alert: Alert): boolean =>
  alert.ack !== null || alert.silenced_by.length > 0 || alert.muted

/** Since when it is as bad as it is. */
export const sinceOf = (alert: Alert): string => alert.fired_at ?? alert.started_at

/** Those nobody deals with first, then by severity, then the newest. */
export function byUrgency(a: Alert, b: Alert): number {
  return (
    Number(isQuiet(a)) - Number(isQuiet(b)) ||
    rank(a.severity) - rank(b.severity) ||
    sinceOf(b).localeCompare(sinceOf(a))
  )
}

export function worstOf(alerts: Iterable<Alert>): Severity | null {
  let worst: Severity | null = null
  for (const { severity } of alerts) if (worst === null || rank(severity) < rank(worst)) worst = severity
  return worst
}

/** The page of what an alert is about; empty for the master's own certificates. */
export function pageOf(alert: Pick<Alert, 'subject'>): string {
  const [kind, id] = alert.subject.split(':')
  if (kind === 'node') return `/nodes/${id}`
  if (kind === 'idc') return '/provisioning/idcs'
  return kind === 'instance' ? `/instances/${id}` : ''
}

/** The rule's own words with the values in their places; a place that is not known stays as it is. */
export function fillText(text: string, values: Record<string, string>): string {
  return text.replace(/\{\{|\}\}|\{(\w+)\}/g, (all, name?: string) => {
    if (all === '{{' || all === '}}') return all.slice(1)
    return name === undefined ? all : (values[name] ?? all)
  })
}

/** Alerts of one rule together, in the order of their first. */
export function byRule(alerts: Iterable<Alert>): [first: Alert, ...others: Alert[]][] {
  const groups = new Map<string, [Alert, ...Alert[]]>()
  for (const alert of alerts) {
    const group = groups.get(alert.rule_id)
    if (group) group.push(alert)
    else groups.set(alert.rule_id, [alert])
  }
  return [...groups.values()]
}
