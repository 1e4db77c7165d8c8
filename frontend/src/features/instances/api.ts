import { http, socketUrlOf, urlOf } from '@/api/http'
import type { Instance, InstanceEvent, LogFile, LogLines, Page } from '@/api/types'

const logPath = (id: string, name: string): string => `/instances/${id}/logs/${encodeURIComponent(name)}`

export const getInstance = (id: string): Promise<Instance> => http.get(`/instances/${id}`)
export const getEvents = (id: string): Promise<Page<InstanceEvent>> => http.get(`/instances/${id}/events`)
export const getLogs = (id: string): Promise<{ items: LogFile[] }> => http.get(`/instances/${id}/logs`)
export const readLog = (id: string, name: string, tail: number, before?: number): Promise<LogLines> =>
  http.get(logPath(id, name), { tail, before })
export const logDownloadUrl = (id: string, name: string): string => urlOf(`${logPath(id, name)}/download`)
export const followUrl = (id: string, name: string): string => socketUrlOf(`${logPath(id, name)}/follow`)
