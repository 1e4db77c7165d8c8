import { http, type Query } from '@/api/http'
import type {
  InstanceEvent,
  Instance,
  NewJoinToken,
  Node,
  NodeEvent,
  Operation,
  Page,
  Process,
  System,
  TakeoverPreview,
} from '@/api/types'
import type { Adoption, Wish } from './takeoverDraft'

export type NodePatch = Partial<Pick<Node, 'name' | 'labels' | 'paused' | 'draining' | 'revoked'>>

export const patchNode = (id: string, patch: NodePatch): Promise<Node> => http.patch(`/nodes/${id}`, patch)
export const deleteNode = (id: string, isForced: boolean): Promise<unknown> =>
  http.delete(`/nodes/${id}`, isForced ? { force: 1 } : {})
export const getProcesses = (id: string): Promise<{ items: Process[] }> => http.get(`/nodes/${id}/processes`)
export const createJoinToken = (labels: Record<string, string>): Promise<NewJoinToken> =>
  http.post('/join-tokens', { uses: 1, ttl: '1h', labels })
export const drainNode = (id: string): Promise<{ operation: Operation }> => http.post(`/nodes/${id}/drain`)
export const undrainNode = (id: string): Promise<{ operation: Operation }> =>
  http.post(`/nodes/${id}/undrain`)
/** Whom would this take? Touches nothing. */
export const matchProcess = (id: string, wish: Wish): Promise<TakeoverPreview> =>
  http.post(`/nodes/${id}/match`, wish)
export const adoptProcess = (body: Adoption): Promise<{ instance: Instance; operation: Operation }> =>
  http.post('/instances/adopt', body)
export const createSystem = (name: string): Promise<System> => http.post('/systems', { name })
export const getNodeEvents = (id: string, query: Query): Promise<Page<NodeEvent>> =>
  http.get(`/nodes/${id}/events`, query)
/** The timeline of one of the node's instances. */
export const getEvents = (instanceId: string): Promise<Page<InstanceEvent>> =>
  http.get(`/instances/${instanceId}/events`)
