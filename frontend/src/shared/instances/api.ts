/** Acts on one instance; used wherever instances stand in a table. */
import { http } from '@/api/http'
import type { Instance, InstanceAction, Operation } from '@/api/types'

export interface Begun {
  instance: Instance
  operation: Operation
}

export const actOnInstance = (id: string, action: InstanceAction): Promise<Begun> =>
  http.post(`/instances/${id}/${action}`)

/** Stop it, prove its processes gone, remove it and its files. */
export const destroyInstance = (id: string): Promise<{ operation?: Operation }> =>
  http.delete(`/instances/${id}`, { stop: 1 })
