/** Which part of time shows an alert best. Pure; now is an argument. */
import type { Alert } from '@/api/types'
import { sinceOf } from '@/shared/alerts/rules'
import type { Span } from '@/shared/charts/series'

const LEAST_BEFORE_S = 300
const MOST_BEFORE_S = 6 * 3600
const AFTER_S = 120

/** Some time before it began, as long as it lasted, and a little after its end; up to now while it goes on. */
export function spanOf(alert: Alert, nowS: number): Span {
  const began = Date.parse(alert.started_at) / 1000
  const ended = alert.resolved_at ? Date.parse(alert.resolved_at) / 1000 : nowS
  const lasted = Math.max(0, ended - Date.parse(sinceOf(alert)) / 1000)
  const before = Math.min(MOST_BEFORE_S, Math.max(LEAST_BEFORE_S, lasted / 2))
  return { fromS: began - before, toS: Math.min(nowS, ended + AFTER_S) }
}
