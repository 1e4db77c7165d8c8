import { http, type Query } from '@/api/http'
import type {
  CommandResult,
  CommandRun,
  CommandRunDetails,
  ManyCommand,
  NewSavedCommand,
  Operation,
  Page,
  SavedCommand,
} from '@/api/types'

export const runCommand = (order: ManyCommand): Promise<{ operation: Operation }> => http.post('/exec', order)
export const listRuns = (query: Query): Promise<Page<CommandRun>> => http.get('/exec', query)
export const getRun = (id: string): Promise<CommandRunDetails> => http.get(`/exec/${id}`)
/** All that one node said; in lists only the end of it stands. */
export const getResult = (id: string, nodeId: string): Promise<CommandResult> =>
  http.get(`/exec/${id}/results/${nodeId}`)
export const cancelRun = (id: string): Promise<Operation> => http.post(`/operations/${id}/cancel`)
export const retryRun = (id: string): Promise<Operation> => http.post(`/operations/${id}/retry`)

export const listSaved = (): Promise<Page<SavedCommand>> => http.get('/saved-commands', { limit: 500 })
export const addSaved = (command: NewSavedCommand): Promise<SavedCommand> =>
  http.post('/saved-commands', command)
export const replaceSaved = (id: string, command: NewSavedCommand): Promise<SavedCommand> =>
  http.put(`/saved-commands/${id}`, command)
export const removeSaved = (id: string): Promise<unknown> => http.delete(`/saved-commands/${id}`)
