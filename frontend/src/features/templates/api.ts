import { http, type Query } from '@/api/http'
import type { ConfigTemplate, NewTemplate, Page, TemplatePreview, TemplateVersion } from '@/api/types'

const at = (id: string): string => `/config-templates/${id}`

export const listTemplates = (query: Query): Promise<Page<ConfigTemplate>> =>
  http.get('/config-templates', query)
export const getTemplate = (id: string): Promise<ConfigTemplate> => http.get(at(id))
export const createTemplate = (body: NewTemplate): Promise<ConfigTemplate> =>
  http.post('/config-templates', body)
export const removeTemplate = (id: string): Promise<unknown> => http.delete(at(id))
export const listVersions = (id: string): Promise<Page<TemplateVersion>> =>
  http.get(`${at(id)}/versions`, { limit: 100 })
export const addVersion = (
  id: string,
  body: { content: string; base: number; note: string },
): Promise<ConfigTemplate> => http.post(`${at(id)}/versions`, body)
export const approveVersion = (id: string, version: number): Promise<ConfigTemplate> =>
  http.post(`${at(id)}/versions/${version}/approve`)
export const rollBack = (id: string, version: number): Promise<ConfigTemplate> =>
  http.post(`${at(id)}/rollback`, { version })
export const diffVersions = (id: string, from: number, to: number): Promise<{ diff: string }> =>
  http.get(`${at(id)}/diff`, { from, to })
export const previewTemplate = (id: string, instanceId: string, content: string): Promise<TemplatePreview> =>
  http.post(`${at(id)}/preview`, { instance_id: instanceId, content })
