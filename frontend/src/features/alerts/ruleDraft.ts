/** The form of a rule as text, and what the API takes; where the server's complaints belong. Pure. */
import { ApiError } from '@/api/http'
import type { AlertRule, ConditionKind, NewAlertRule, Severity } from '@/api/types'
import { parseLevel, spellLevel, unitOf, type Unit } from '@/shared/alerts/levels'
import { formatLabels, parseLabels } from '@/shared/format'
import { parseSpan, spellSpan } from '@/shared/spans'

export const KINDS = [
  'node_metric',
  'node_status',
  'instance_metric',
  'instance_state',
  'instance_health',
  'instance_restarts',
  'no_data',
  'certificate',
  'log',
  'idc_status',
] as const satisfies ConditionKind[]
export const OPERATORS = ['>=', '>', '<=', '<'] as const
export const READINGS = ['newest', 'mean', 'every', 'share'] as const
export const NODE_SERIES = [
  'cpu_percent',
  'mem_percent',
  'disk_percent',
  'load1',
  'load5',
  'load15',
  'swap_percent',
  'net_rx_bytes_per_s',
  'net_tx_bytes_per_s',
  'disk_read_bytes_per_s',
  'disk_write_bytes_per_s',
  'mem_used_bytes',
  'processes',
  'file_descriptors',
  'uptime_s',
]
export const INSTANCE_SERIES = [
  'cpu_percent',
  'mem_bytes',
  'processes',
  'file_descriptors',
  'disk_read_bytes_per_s',
  'disk_write_bytes_per_s',
]
export const STATES: Partial<Record<ConditionKind, string[]>> = {
  node_status: ['suspect', 'offline'],
  idc_status: ['silent'],
  instance_state: ['pending', 'preparing', 'starting', 'backoff', 'failed', 'exited', 'stopped', 'running'],
  instance_health: ['unhealthy', 'starting', 'healthy'],
}

export const hasLevel = (kind: ConditionKind): boolean =>
  ['node_metric', 'instance_metric', 'instance_restarts', 'certificate', 'log'].includes(kind)
export const isMetric = (kind: ConditionKind): boolean => kind === 'node_metric' || kind === 'instance_metric'
export const isOfInstances = (kind: ConditionKind): boolean => kind.startsWith('instance_') || kind === 'log'

/** The kind of states that a condition names. */
export function stateKindOf(kind: ConditionKind): 'node' | 'health' | 'idc' | 'instance' {
  if (kind === 'node_status') return 'node'
  if (kind === 'instance_health') return 'health'
  return kind === 'idc_status' ? 'idc' : 'instance'
}

export interface RuleText {
  name: string
  severity: Severity
  enabled: boolean
  kind: ConditionKind
  series: string
  op: (typeof OPERATORS)[number]
  fire: string
  clear: string
  reading: (typeof READINGS)[number]
  window: string
  share: string
  states: string[]
  log: string
  pattern: string
  regex: boolean
  holds: string
  keeps: string
  noData: NewAlertRule['no_data']
  labels: string
  nodes: string[]
  system: string
  module: string
  groupBy: NewAlertRule['group']['by']
  wait: string
  interval: string
  repeat: string
  channels: string[]
  en: string
  zh: string
}

export type Field = keyof RuleText

const START: Pick<RuleText, 'fire' | 'clear'> = { fire: '90', clear: '85' }

export function textOf(rule: AlertRule | null): RuleText {
  const condition = rule?.condition
  const kind = condition?.kind ?? 'node_metric'
  const unit = unitOf(kind, condition?.series ?? '')
  return {
    name: rule?.name ?? '',
    severity: rule?.severity ?? 'warning',
    enabled: rule?.enabled ?? true,
    kind,
    series: condition?.series ?? 'cpu_percent',
    op: condition?.op ?? '>=',
    fire: condition ? spellLevel(unit, condition.fire_level) : START.fire,
    clear: condition ? spellLevel(unit, condition.clear_level) : START.clear,
    reading: condition?.window_s ? condition.mode : 'newest',
    window: spellSpan(condition?.window_s || 300),
    share: String(condition?.share_percent ?? 80),
    states: [...(condition?.states ?? [])],
    log: condition?.log || 'stdout',
    pattern: condition?.pattern ?? '',
    regex: condition?.regex ?? false,
    holds: spellSpan(rule?.for_s ?? 60),
    keeps: spellSpan(rule?.keep_firing_for_s ?? 0),
    noData: rule?.no_data ?? 'ok',
    labels: formatLabels(rule?.scope.labels ?? {}),
    nodes: [...(rule?.scope.node_ids ?? [])],
    system: rule?.scope.system_id ?? '',
    module: rule?.scope.module_id ?? '',
    groupBy: rule?.group.by ?? 'rule',
    wait: spellSpan(rule?.group.wait_s ?? 0),
    interval: spellSpan(rule?.group.interval_s ?? 30),
    repeat: spellSpan(rule?.group.repeat_s ?? 14_400),
    channels: [...(rule?.channels ?? [])],
    en: rule?.texts.en ?? '',
    zh: rule?.texts.zh ?? '',
  }
}

/** What another kind of condition begins with; the rest stays as typed. */
export function ofKind(text: RuleText, kind: ConditionKind): RuleText {
  const changed: RuleText = { ...text, kind, states: [], reading: 'newest', noData: 'ok' }
  const start: Partial<Record<ConditionKind, Partial<RuleText>>> = {
    node_metric: { series: 'cpu_percent', op: '>=', ...START },
    instance_metric: { series: 'cpu_percent', op: '>=', ...START },
    instance_restarts: { op: '>=', fire: '3', clear: '0' },
    certificate: { op: '<', fire: '14', clear: '', labels: '', nodes: [] },
    node_status: { states: ['offline'] },
    idc_status: { states: ['silent'], labels: '', nodes: [] },
    instance_state: { states: ['failed'] },
    instance_health: { states: ['unhealthy'] },
    no_data: { series: '', window: '1m' },
    log: { pattern: 'ERROR', fire: '1', clear: '', window: '1m', holds: '0s' },
  }
  return isOfInstances(kind)
    ? { ...changed, ...start[kind] }
    : { ...changed, ...start[kind], system: '', module: '' }
}

export const unitOfText = ({ kind, series }: RuleText): Unit => unitOf(kind, isMetric(kind) ? series : '')

const hasWindow = (text: RuleText): boolean =>
  text.kind === 'no_data' || text.kind === 'log' || (isMetric(text.kind) && text.reading !== 'newest')

function conditionOf(text: RuleText): NewAlertRule['condition'] {
  const { kind } = text
  const level = (typed: string): number | null =>
    hasLevel(kind) && typed.trim() ? parseLevel(unitOfText(text), typed) : null
  return {
    kind,
    series: isMetric(kind) || kind === 'no_data' ? text.series.trim() : '',
    op: kind === 'log' ? '>=' : text.op,
    fire_level: level(text.fire),
    clear_level: kind === 'log' ? null : level(text.clear),
    mode: text.reading === 'newest' ? 'mean' : text.reading,
    share_percent: text.reading === 'share' ? Number(text.share) : 100,
    window_s: hasWindow(text) ? Math.round(parseSpan(text.window) ?? 0) : 0,
    states: STATES[kind] ? text.states : [],
    log: kind === 'log' ? text.log.trim() : '',
    pattern: kind === 'log' ? text.pattern.trim() : '',
    regex: kind === 'log' && text.regex,
  }
}

export function ruleOf(text: RuleText): NewAlertRule {
  const span = (typed: string): number => parseSpan(typed) ?? 0
  return {
    name: text.name.trim(),
    condition: conditionOf(text),
    severity: text.severity,
    scope: {
      labels: parseLabels(text.labels) ?? {},
      node_ids: text.nodes,
      system_id: text.system,
      module_id: text.module,
    },
    for_s: span(text.holds),
    keep_firing_for_s: span(text.keeps),
    no_data: isMetric(text.kind) ? text.noData : 'ok',
    group: {
      by: text.groupBy,
      wait_s: span(text.wait),
      interval_s: span(text.interval),
      repeat_s: span(text.repeat),
    },
    channels: text.channels,
    texts: { en: text.en.trim(), zh: text.zh.trim() },
    enabled: text.enabled,
  }
}

/** The level to clear lies on the quiet side of the level to fire. */
function isClearFine(text: RuleText): boolean {
  const unit = unitOfText(text)
  const fire = parseLevel(unit, text.fire)
  if (!text.clear.trim() || fire === null) return true
  const clear = parseLevel(unit, text.clear)
  return clear !== null && (text.op.startsWith('>') ? clear <= fire : clear >= fire)
}

/** Fields that are filled wrongly, while typing; the server has the last word. */
export function wrongFields(text: RuleText): Field[] {
  const { kind } = text
  const span = (typed: string, low: number, high: number): boolean => {
    const seconds = parseSpan(typed)
    return seconds !== null && (seconds === 0 ? low === 0 : seconds >= low && seconds <= high)
  }
  const share = Number(text.share)
  const checks: [Field, boolean][] = [
    ['name', text.name.trim() !== '' && text.name.trim().length <= 64],
    ['series', !isMetric(kind) || text.series.trim() !== ''],
    ['fire', !hasLevel(kind) || parseLevel(unitOfText(text), text.fire) !== null],
    ['clear', !hasLevel(kind) || kind === 'log' || isClearFine(text)],
    ['window', !hasWindow(text) || span(text.window, kind === 'no_data' ? 30 : kind === 'log' ? 10 : 1, 900)],
    ['share', text.reading !== 'share' || (share >= 1 && share <= 100)],
    ['states', !STATES[kind] || text.states.length > 0],
    ['log', kind !== 'log' || text.log.trim() !== ''],
    ['pattern', kind !== 'log' || text.pattern.trim() !== ''],
    ['holds', span(text.holds, 0, 86_400)],
    ['keeps', span(text.keeps, 0, 86_400)],
    ['labels', parseLabels(text.labels) !== null],
    ['wait', span(text.wait, 0, 3600)],
    ['interval', span(text.interval, 1, 86_400)],
    ['repeat', span(text.repeat, 0, 30 * 86_400)],
  ]
  return checks.filter(([, isFine]) => !isFine).map(([field]) => field)
}

const PATHS: [start: string, field: Field][] = [
  ['name', 'name'],
  ['severity', 'severity'],
  ['condition.kind', 'kind'],
  ['condition.series', 'series'],
  ['condition.op', 'op'],
  ['condition.fire_level', 'fire'],
  ['condition.clear_level', 'clear'],
  ['condition.mode', 'reading'],
  ['condition.share_percent', 'share'],
  ['condition.window_s', 'window'],
  ['condition.states', 'states'],
  ['condition.log', 'log'],
  ['condition.pattern', 'pattern'],
  ['for_s', 'holds'],
  ['keep_firing_for_s', 'keeps'],
  ['no_data', 'noData'],
  ['scope.labels', 'labels'],
  ['scope.node_ids', 'nodes'],
  ['scope.system_id', 'system'],
  ['scope.module_id', 'module'],
  ['group.by', 'groupBy'],
  ['group.wait_s', 'wait'],
  ['group.interval_s', 'interval'],
  ['group.repeat_s', 'repeat'],
  ['channels', 'channels'],
  ['texts.en', 'en'],
  ['texts.zh', 'zh'],
]

/** What the server complains of, by field; an unsuitable path is left to the note below the form. */
export function complaintsOf(error: unknown): Partial<Record<Field, string>> {
  const listed = error instanceof ApiError ? error.details['problems'] : undefined
  const found: Partial<Record<Field, string>> = {}
  for (const problem of Array.isArray(listed) ? listed.map(String) : []) {
    const [, path, words] = /^\$\.(?:rule\.)?([\w.]+)[^:]*: (.*)$/s.exec(problem) ?? []
    const field = PATHS.find(([start]) => path === start || path?.startsWith(`${start}.`))?.[1]
    if (field && words) found[field] ??= words
  }
  return found
}
