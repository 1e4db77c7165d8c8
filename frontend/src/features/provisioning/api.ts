import { http, urlOf, type Query } from '@/api/http'
import type { Page } from '@/api/types'
import type { Placed } from './live'
import type {
  ApprovalRule,
  BulkAnswer,
  DryRun,
  Idc,
  Machine,
  NewRule,
  NewTask,
  RegionSettings,
  Task,
  TaskLog,
} from './types'

const pathOf = (list: string, { idc, sn }: Placed): string =>
  `/${list}/${encodeURIComponent(idc)}/${encodeURIComponent(sn)}`

export const listTasks = (query: Query): Promise<Page<Task>> => http.get('/tasks', query)
export const getTask = (of: Placed): Promise<Task> => http.get(pathOf('tasks', of))
export const createTask = (task: NewTask): Promise<Task> => http.post('/tasks', task)
export const removeTask = (of: Placed): Promise<unknown> => http.delete(pathOf('tasks', of))
export const createMany = (table: string, isDry: boolean): Promise<BulkAnswer> =>
  http.post('/tasks/bulk', { csv: table, dry_run: isDry })
export const approveTask = (
  of: Placed,
  order: { disks: string[]; inventory_hash: string; notes: string; overwrite_foreign: string[] },
): Promise<Task> => http.post(`${pathOf('tasks', of)}/approve`, order)
export const endTask = (of: Placed, act: 'reject' | 'cancel', reason: string): Promise<Task> =>
  http.post(`${pathOf('tasks', of)}/${act}`, { reason })
export const retryTask = (of: Placed): Promise<Task> => http.post(`${pathOf('tasks', of)}/retry`, {})
export const readLog = (of: Placed): Promise<TaskLog> => http.get(`${pathOf('tasks', of)}/log`)
export const logUrl = (of: Placed): string => urlOf(`${pathOf('tasks', of)}/log`)
export const dryRun = (of: Placed, disks: string[]): Promise<DryRun> =>
  http.post(`${pathOf('tasks', of)}/dry-run`, { disks })

export const listMachines = (idc: string, query: Query): Promise<Page<Machine>> =>
  http.get(`/machines/${encodeURIComponent(idc)}`, query)
export const getMachine = (of: Placed): Promise<Machine> => http.get(pathOf('machines', of))
export const listUnmatched = (query: Query): Promise<Page<Machine>> => http.get('/unmatched', query)
export const forgetUnmatched = (of: Placed): Promise<unknown> => http.delete(pathOf('unmatched', of))

export const listIdcs = (): Promise<Page<Idc>> => http.get('/idcs')
export const saveIdc = (idc: string, settings: RegionSettings): Promise<unknown> =>
  http.patch(`/idcs/${encodeURIComponent(idc)}/settings`, settings)

export const listRules = (query: Query): Promise<Page<ApprovalRule>> => http.get('/approval-rules', query)
export const createRule = (rule: NewRule): Promise<ApprovalRule> => http.post('/approval-rules', rule)
export const changeRule = (id: string, rule: Partial<NewRule>): Promise<ApprovalRule> =>
  http.patch(`/approval-rules/${encodeURIComponent(id)}`, rule)
export const removeRule = (id: string): Promise<unknown> =>
  http.delete(`/approval-rules/${encodeURIComponent(id)}`)
