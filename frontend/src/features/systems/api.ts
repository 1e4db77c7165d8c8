import { http } from '@/api/http'
import type {
  ConfigTemplate,
  Instance,
  Module,
  ModuleDraft,
  ModuleRollout,
  Operation,
  Page,
  RolloutPlan,
  RolloutStrategy,
  System,
  SystemAction,
  SystemDiff,
  SystemPatch,
} from '@/api/types'

export type SystemDraft = Pick<SystemPatch, 'name' | 'description' | 'env' | 'env_secrets'>

export const createSystem = (draft: SystemDraft): Promise<System> => http.post('/systems', draft)
export const patchSystem = (id: string, draft: SystemDraft): Promise<System> =>
  http.patch(`/systems/${id}`, draft)
export const deleteSystem = (id: string): Promise<unknown> => http.delete(`/systems/${id}`)
export const actOnSystem = (id: string, action: SystemAction): Promise<{ operation: Operation }> =>
  http.post(`/systems/${id}/actions`, { action })
/** Its YAML text. */
export const exportSystem = (id: string): Promise<string> => http.text(`/systems/${id}/export`)
export const diffSystem = (document: string): Promise<SystemDiff> => http.post('/systems/diff', { document })
export const applySystem = (
  document: string,
  secrets: Record<string, Record<string, string>>,
): Promise<SystemDiff> => http.post('/systems/apply', { document, secrets })
export const listTemplates = (): Promise<Page<ConfigTemplate>> =>
  http.get('/config-templates', { limit: 500 })
export const createModule = (systemId: string, draft: ModuleDraft): Promise<Module> =>
  http.post(`/systems/${systemId}/modules`, draft)
export const patchModule = (id: string, draft: Partial<ModuleDraft>): Promise<Module> =>
  http.patch(`/modules/${id}`, draft)
export const deleteModule = (id: string): Promise<unknown> => http.delete(`/modules/${id}`)
export const createInstance = (
  moduleId: string,
  nodeId: string,
): Promise<{ instance: Instance; operation: Operation }> =>
  http.post('/instances', { module_id: moduleId, node_id: nodeId })
export const planRollout = (
  moduleId: string,
  version: string,
  strategy: RolloutStrategy,
): Promise<RolloutPlan> => http.post(`/modules/${moduleId}/plan`, { version, strategy })
export const beginRollout = (
  moduleId: string,
  version: string,
  strategy: RolloutStrategy,
  note: string,
): Promise<{ operation: Operation }> => http.post(`/modules/${moduleId}/rollout`, { version, strategy, note })
export const listRollouts = (moduleId: string): Promise<Page<ModuleRollout>> =>
  http.get(`/modules/${moduleId}/rollouts`, { limit: 20 })
