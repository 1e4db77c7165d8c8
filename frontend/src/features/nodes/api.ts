import { http, type Query } from '@/api/http'
import type {
  InstanceEvent,
  Instance,
  NewJoinToken,
  Node,
  NodeEvent,
  Operation,
  Page,
  LogFile,
  Process,
  System,
  TerminalSession,
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
/** Those that are open on the node. Asks for a fresh proof where one is needed. */
export const listTerminals = (id: string): Promise<{ items: TerminalSession[] }> =>
  http.get(`/nodes/${id}/terminals`)
/** The named logs of one of the node's instances. */
export const getLogs = (instanceId: string): Promise<{ items: LogFile[] }> =>
  http.get(`/instances/${instanceId}/logs`)
/** A newer version for the workers themselves; many at once are ordered in one operation. */
export const updateWorkers = (
  nodeIds: string[],
  order: { package: string; version: string },
  maxParallel: number,
): Promise<{ operation: Operation }> =>
  nodeIds.length === 1
    ? http.post(`/nodes/${nodeIds[0] ?? ''}/update`, order)
    : http.post('/worker-updates', { ...order, node_ids: nodeIds, max_parallel: maxParallel })
