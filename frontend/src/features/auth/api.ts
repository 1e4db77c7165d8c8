import { http } from '@/api/http'

export const createAdministrator = (code: string, username: string, password: string): Promise<unknown> =>
  http.post('/setup', { code, username, password })

export type Proof = { password: string } | { totp: string }
export const stepUp = (proof: Proof): Promise<unknown> => http.post('/step-up', proof)
