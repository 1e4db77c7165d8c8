import { http, type Query } from '@/api/http'
import type { Page, SavedCommand, Schedule, ScheduleBody, ScheduleRun } from '@/api/types'

const pathOf = (id: string): string => `/schedules/${encodeURIComponent(id)}`

export const listSchedules = (query: Query): Promise<Page<Schedule>> => http.get('/schedules', query)
export const createSchedule = (body: ScheduleBody): Promise<Schedule> => http.post('/schedules', body)
export const replaceSchedule = (id: string, body: ScheduleBody): Promise<Schedule> =>
  http.put(pathOf(id), body)
export const deleteSchedule = (id: string): Promise<unknown> => http.delete(pathOf(id))
export const pauseSchedule = (id: string): Promise<Schedule> => http.post(`${pathOf(id)}/pause`)
export const resumeSchedule = (id: string): Promise<Schedule> => http.post(`${pathOf(id)}/resume`)
export const runSchedule = (id: string): Promise<ScheduleRun> => http.post(`${pathOf(id)}/run`)
export const listRuns = (id: string): Promise<Page<ScheduleRun>> =>
  http.get(`${pathOf(id)}/runs`, { limit: 30 })
export const previewCron = async (cron: string, timezone: string): Promise<string[]> =>
  (await http.post<{ next_at: string[] }>('/schedules/preview', { cron, timezone })).next_at
export const listSavedCommands = (): Promise<Page<SavedCommand>> =>
  http.get('/saved-commands', { limit: 500 })
