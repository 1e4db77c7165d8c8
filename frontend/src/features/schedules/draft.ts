/** A schedule as it is typed: text in fields, and back into what the server takes. Pure. */
import type { Schedule, ScheduleBody } from '@/api/types'
import { formatLabels, parseLabels } from '@/shared/format'

export const KINDS = ['exec', 'backup', 'restart', 'retention'] as const
export type Kind = (typeof KINDS)[number]

/** Lines people want most, in words. */
export const PRESETS = ['0 * * * *', '0 3 * * *', '0 3 * * 1-5', '0 3 * * 0', '0 3 1 * *'] as const

export interface Draft {
  name: string
  kind: Kind
  cron: string
  timezone: string
  missed: 'skip' | 'once'
  savedId: string
  command: string
  timeoutS: number
  /** Labels `k=v,…`, or empty where nodes are named. */
  labels: string
  nodeIds: string[]
  target: 'system' | 'module' | 'instance'
  targetId: string
  place: string
}

const isText = (value: unknown): value is string => typeof value === 'string'

export function draftOf(schedule: Schedule | null, kind: string, timezone: string): Draft {
  const params = schedule?.params ?? {}
  const text = (name: string): string => (isText(params[name]) ? params[name] : '')
  const targets = ['system', 'module', 'instance'] as const
  const target = targets.find((one) => text(`${one}_id`) !== '') ?? 'system'
  return {
    name: schedule?.name ?? '',
    kind: KINDS.find((one) => one === (schedule?.kind ?? kind)) ?? 'backup',
    cron: schedule?.cron ?? '0 3 * * *',
    timezone: schedule?.timezone ?? timezone,
    missed: schedule?.missed === 'once' ? 'once' : 'skip',
    savedId: text('saved_id'),
    command:
      Array.isArray(params['argv']) && params['argv'].length > 0 ? params['argv'].join(' ') : text('command'),
    timeoutS: typeof params['timeout_s'] === 'number' ? params['timeout_s'] : 60,
    labels: formatLabels((params['labels'] ?? {}) as Record<string, string>),
    nodeIds: Array.isArray(params['node_ids']) ? params['node_ids'].filter(isText) : [],
    target,
    targetId: text(`${target}_id`),
    place: text('place'),
  }
}

export function isComplete(draft: Draft): boolean {
  if (draft.name.trim() === '' || draft.cron.trim() === '') return false
  if (draft.kind === 'restart') return draft.targetId !== ''
  if (draft.kind !== 'exec') return true
  const labels = parseLabels(draft.labels)
  const hasNodes = draft.nodeIds.length > 0 || (labels !== null && Object.keys(labels).length > 0)
  return hasNodes && (draft.savedId !== '' || draft.command.trim() !== '')
}

function paramsOf(draft: Draft): Record<string, unknown> {
  switch (draft.kind) {
    case 'backup':
      return { place: draft.place }
    case 'restart':
      return { [`${draft.target}_id`]: draft.targetId }
    case 'retention':
      return {}
    case 'exec': {
      const where =
        draft.nodeIds.length > 0 ? { node_ids: draft.nodeIds } : { labels: parseLabels(draft.labels) ?? {} }
      return draft.savedId
        ? { saved_id: draft.savedId, ...where }
        : { command: draft.command.trim(), timeout_s: draft.timeoutS, ...where }
    }
  }
}

export function bodyOf(draft: Draft, isPaused: boolean): ScheduleBody {
  return {
    name: draft.name.trim(),
    kind: draft.kind,
    cron: draft.cron.trim(),
    timezone: draft.timezone.trim(),
    missed: draft.missed,
    is_paused: isPaused,
    params: paramsOf(draft),
  }
}
