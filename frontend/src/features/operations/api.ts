import { http, type Query } from '@/api/http'
import type { Operation, OperationLine, Page } from '@/api/types'

export const listOperations = (query: Query): Promise<Page<Operation>> => http.get('/operations', query)
export const getOperation = (id: string): Promise<Operation> => http.get(`/operations/${id}`)
export const listLog = (id: string, query: Query): Promise<Page<OperationLine>> =>
  http.get(`/operations/${id}/log`, query)
export const cancelOperation = (id: string): Promise<Operation> => http.post(`/operations/${id}/cancel`)
export const retryOperation = (id: string): Promise<Operation> => http.post(`/operations/${id}/retry`)
export const pauseOperation = (id: string): Promise<Operation> => http.post(`/operations/${id}/pause`)
export const resumeOperation = (id: string): Promise<Operation> => http.post(`/operations/${id}/resume`)
