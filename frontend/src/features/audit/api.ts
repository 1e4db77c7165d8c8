import { http, type Query } from '@/api/http'
import type { AuditRow, Page, Verdict } from '@/api/types'

export const listAudit = (query: Query): Promise<Page<AuditRow>> => http.get('/audit', query)
export const verifyAudit = (): Promise<Verdict> => http.get('/audit/verify')
