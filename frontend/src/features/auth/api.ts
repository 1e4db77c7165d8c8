import { http } from '@/api/http'

export const createAdministrator = (code: string, username: string, password: string): Promise<unknown> =>
  http.post('/setup', { code, username, password })

export const stepUp = (password: string): Promise<unknown> => http.post('/step-up', { password })
