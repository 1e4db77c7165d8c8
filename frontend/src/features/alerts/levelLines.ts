/** The levels of a condition as lines across a chart. Pure. */
import type { NewAlertRule } from '@/api/types'
import { formatLevel, unitOf } from '@/shared/alerts/levels'
import type { Level } from '@/shared/charts/marks'

export function levelsOf(
  condition: NewAlertRule['condition'],
  names: { fire: string; clear: string },
): Level[] {
  const unit = unitOf(condition.kind, condition.series)
  const line = (value: number | null, tone: Level['tone'], name: string): Level[] =>
    value === null ? [] : [{ value, tone, label: `${name} ${formatLevel(unit, value)}` }]
  const { fire_level: fire, clear_level: clear } = condition
  return [...line(fire, 'bad', names.fire), ...(clear === fire ? [] : line(clear, 'ok', names.clear))]
}
