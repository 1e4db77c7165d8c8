import { http } from '@/api/http'
import type { NewJoinToken, Node, Process } from '@/api/types'

export type NodePatch = Partial<Pick<Node, 'name' | 'labels' | 'paused' | 'draining' | 'revoked'>>

export const patchNode = (id: string, patch: NodePatch): Promise<Node> => http.patch(`/nodes/${id}`, patch)
export const deleteNode = (id: string, isForced: boolean): Promise<unknown> =>
  http.delete(`/nodes/${id}`, isForced ? { force: 1 } : {})
export const getProcesses = (id: string): Promise<{ items: Process[] }> => http.get(`/nodes/${id}/processes`)
export const createJoinToken = (labels: Record<string, string>): Promise<NewJoinToken> =>
  http.post('/join-tokens', { uses: 1, ttl: '1h', labels })
