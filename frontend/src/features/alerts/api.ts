import { http, type Query } from '@/api/http'
import type {
  Alert,
  AlertDetails,
  AlertRule,
  Backtest,
  Channel,
  Delivery,
  Metrics,
  NewAlertRule,
  NewSilence,
  Page,
  Silence,
} from '@/api/types'

export const listAlerts = (query: Query): Promise<Page<Alert>> => http.get('/alerts', query)
export const getAlert = (id: string): Promise<AlertDetails> => http.get(`/alerts/${id}`)
export const acknowledge = (id: string, note: string): Promise<unknown> =>
  http.post(`/alerts/${id}/ack`, { note })
export const unacknowledge = (id: string): Promise<unknown> => http.post(`/alerts/${id}/unack`)

export const listRules = (query: Query): Promise<Page<AlertRule>> => http.get('/alert-rules', query)
export const getRule = (id: string): Promise<AlertRule> => http.get(`/alert-rules/${id}`)
export const createRule = (rule: NewAlertRule): Promise<AlertRule> => http.post('/alert-rules', rule)
export const replaceRule = (id: string, rule: NewAlertRule): Promise<AlertRule> =>
  http.put(`/alert-rules/${id}`, rule)
export const switchRule = (id: string, enabled: boolean): Promise<AlertRule> =>
  http.patch(`/alert-rules/${id}`, { enabled })
export const deleteRule = (id: string): Promise<unknown> => http.delete(`/alert-rules/${id}`)
export const backtest = (rule: NewAlertRule, from: number, to: number): Promise<Backtest> =>
  http.post('/alert-rules/backtest', { rule, from, to, points: true })

export const listSilences = (query: Query): Promise<Page<Silence>> => http.get('/silences', query)
export const createSilence = (silence: NewSilence): Promise<Silence> => http.post('/silences', silence)
export const getSilence = (id: string): Promise<Silence> => http.get(`/silences/${id}`)
export const replaceSilence = (id: string, silence: NewSilence): Promise<Silence> =>
  http.put(`/silences/${id}`, silence)
export const expireSilence = (id: string): Promise<Silence> => http.post(`/silences/${id}/expire`)

export const listChannels = (): Promise<Page<Channel>> => http.get('/channels', { limit: 100 })
/** The messages of a channel that tell of an alert. */
export const listDeliveries = (channel: string, alert: string): Promise<Page<Delivery>> =>
  http.get(`/channels/${channel}/deliveries`, { limit: 200, alert_id: alert })
/** The points of one series of `node:ID` or `instance:ID`. */
export function getSeries(
  subject: string,
  series: string,
  from: number,
  to: number,
  step: number,
): Promise<Metrics> {
  const [kind, id] = subject.split(':')
  return http.get(`/${kind}s/${id}/metrics`, { series, from, to, step_s: step })
}
