import { http, socketUrlOf, urlOf } from '@/api/http'
import type {
  Crash,
  Instance,
  InstanceEvent,
  LogFile,
  LogLines,
  Operation,
  Page,
  Reloaded,
} from '@/api/types'

const logPath = (id: string, name: string): string => `/instances/${id}/logs/${encodeURIComponent(name)}`

export const getInstance = (id: string): Promise<Instance> => http.get(`/instances/${id}`)
export const getEvents = (id: string): Promise<Page<InstanceEvent>> => http.get(`/instances/${id}/events`)
export const getCrashes = (id: string): Promise<{ items: Crash[] }> => http.get(`/instances/${id}/crashes`)
export const releaseInstance = (id: string): Promise<{ instance: Instance; operation: Operation }> =>
  http.post(`/instances/${id}/release`)
export const reloadInstance = (id: string): Promise<Reloaded> => http.post(`/instances/${id}/reload`)
export const getLogs = (id: string): Promise<{ items: LogFile[] }> => http.get(`/instances/${id}/logs`)
export const readLog = (id: string, name: string, tail: number, before?: number): Promise<LogLines> =>
  http.get(logPath(id, name), { tail, before })
export const logDownloadUrl = (id: string, name: string): string => urlOf(`${logPath(id, name)}/download`)
export const followUrl = (id: string, name: string): string => socketUrlOf(`${logPath(id, name)}/follow`)
