import { http } from '@/api/http'
import type { Crash, Instance, InstanceEvent, LogFile, Operation, Page, Reloaded } from '@/api/types'

export const getInstance = (id: string): Promise<Instance> => http.get(`/instances/${id}`)
export const getEvents = (id: string): Promise<Page<InstanceEvent>> => http.get(`/instances/${id}/events`)
export const getCrashes = (id: string): Promise<{ items: Crash[] }> => http.get(`/instances/${id}/crashes`)
export const releaseInstance = (id: string): Promise<{ instance: Instance; operation: Operation }> =>
  http.post(`/instances/${id}/release`)
export const reloadInstance = (id: string): Promise<Reloaded> => http.post(`/instances/${id}/reload`)
export const getLogs = (id: string): Promise<{ items: LogFile[] }> => http.get(`/instances/${id}/logs`)
