/** The form of a silence, and what the API takes. Pure; now is an argument. */
import type { Alert, NewSilence, Severity, Silence } from '@/api/types'
import { formatLabels, parseLabels } from '@/shared/format'
import { parseSpan, spellSpan } from '@/shared/spans'
import { localOf, stampOf } from '@/shared/stamps'

export const SPANS = ['1h', '4h', '1d', '7d'] as const

export interface SilenceText {
  reason: string
  /** When it begins, as a `datetime-local` field has it; empty: at once. */
  starts: string
  /** How long from then, as typed: `2h`. */
  span: string
  rules: string[]
  nodes: string[]
  labels: string
  system: string
  instance: string
  severity: Severity | ''
}

/** A form that changes one: what is left of its time, or all of it while it is to come, is what is typed. */
export function textOfSilence(silence: Silence, nowMs: number): SilenceText {
  const { reason, matchers, state, starts_at: startsAt, ends_at: endsAt } = silence
  const isToCome = state === 'scheduled'
  const starts = isToCome ? localOf(startsAt) : ''
  const fromMs = isToCome ? Date.parse(stampOf(starts)) : nowMs
  const leftS = Math.max(60, 60 * Math.ceil((Date.parse(endsAt) - fromMs) / 60_000))
  return {
    reason,
    starts,
    span: spellSpan(leftS),
    rules: [...matchers.rule_ids],
    nodes: [...matchers.node_ids],
    labels: formatLabels(matchers.labels),
    system: matchers.system_id,
    instance: matchers.instance_id,
    severity: matchers.severity ?? '',
  }
}

export type Field = 'reason' | 'span' | 'labels' | 'matchers'

/** A form begun from an alert, by the query of the address. */
export function textOf(query: Record<string, unknown>): SilenceText {
  const one = (name: string): string => (typeof query[name] === 'string' ? query[name] : '')
  const list = (name: string): string[] => one(name).split(',').filter(Boolean)
  return {
    reason: '',
    starts: '',
    span: '2h',
    rules: list('rule'),
    nodes: list('node'),
    labels: '',
    system: '',
    instance: one('instance'),
    severity: '',
  }
}

/** The query of an address where a silence of these alerts begins: their rules, and where they all are. */
export function queryOf(alerts: Alert[]): Record<string, string> {
  const each = (read: (alert: Alert) => string): string[] => [...new Set(alerts.map(read))]
  const [instances, nodes] = [each((alert) => alert.instance_id), each((alert) => alert.node_id)]
  const rule = each((alert) => alert.rule_id).join(',')
  if (instances.length === 1 && instances[0]) return { rule, instance: instances[0] }
  return nodes.length > 0 && nodes.every(Boolean) ? { rule, node: nodes.join(',') } : { rule }
}

const isEmpty = ({ rules, nodes, labels, system, instance, severity }: SilenceText): boolean =>
  rules.length === 0 && nodes.length === 0 && !labels.trim() && !system && !instance && !severity

export function wrongFields(text: SilenceText): Field[] {
  const seconds = parseSpan(text.span)
  const checks: [Field, boolean][] = [
    ['reason', text.reason.trim() !== ''],
    ['span', seconds !== null && seconds > 0 && seconds <= 366 * 86_400],
    ['labels', parseLabels(text.labels) !== null],
    ['matchers', !isEmpty(text)],
  ]
  return checks.filter(([, isFine]) => !isFine).map(([field]) => field)
}

/** `isToCome`: it changes one that has not begun; without a start of its own it begins at once. */
export function silenceOf(text: SilenceText, nowMs: number, isToCome = false): NewSilence {
  const startsAt = stampOf(text.starts)
  const fromMs = startsAt ? Date.parse(startsAt) : nowMs
  return {
    reason: text.reason.trim(),
    starts_at: startsAt || (isToCome ? new Date(nowMs).toISOString() : null),
    ends_at: new Date(fromMs + (parseSpan(text.span) ?? 0) * 1000).toISOString(),
    matchers: {
      rule_ids: text.rules,
      node_ids: text.nodes,
      labels: parseLabels(text.labels) ?? {},
      system_id: text.system,
      instance_id: text.instance,
      severity: text.severity || null,
    },
  }
}

export interface MatcherNames {
  rule: (id: string) => string
  node: (id: string) => string
  system: (id: string) => string
  instance: (id: string) => string
}

/** What a silence is about, piece by piece: kind and words. */
export function piecesOf(
  { matchers }: Pick<Silence, 'matchers'>,
  names: MatcherNames,
): { kind: 'rule' | 'node' | 'label' | 'system' | 'instance' | 'severity'; text: string }[] {
  return [
    ...matchers.rule_ids.map((id) => ({ kind: 'rule' as const, text: names.rule(id) })),
    ...matchers.node_ids.map((id) => ({ kind: 'node' as const, text: names.node(id) })),
    ...(matchers.system_id ? [{ kind: 'system' as const, text: names.system(matchers.system_id) }] : []),
    ...(matchers.instance_id
      ? [{ kind: 'instance' as const, text: names.instance(matchers.instance_id) }]
      : []),
    ...(matchers.severity ? [{ kind: 'severity' as const, text: matchers.severity }] : []),
    ...(Object.keys(matchers.labels).length > 0
      ? [{ kind: 'label' as const, text: formatLabels(matchers.labels) }]
      : []),
  ]
}
