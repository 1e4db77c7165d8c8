import { http, socketUrlOf, type Query } from '@/api/http'
import type { Page, Recording, TerminalSession, TerminalSettings, TerminalShare } from '@/api/types'

interface Sessions {
  items: TerminalSession[]
}

const base = (node: string): string => `/nodes/${node}/terminals`

/** Also asks for a fresh proof where one is needed: a WebSocket cannot. */
export const listSessions = (node: string): Promise<Sessions> => http.get(base(node))
export const nameSession = (node: string, id: string, name: string): Promise<Sessions> =>
  http.patch(`${base(node)}/${id}`, { name })
export const endSession = (node: string, id: string): Promise<Sessions> => http.delete(`${base(node)}/${id}`)

export interface Look {
  cols: number
  rows: number
  session?: string
  user?: string
  read_only?: boolean
  record?: boolean
}
const flag = (isOn?: boolean): number | undefined => (isOn ? 1 : undefined)
export const lookUrl = (node: string, look: Look): string =>
  socketUrlOf(`/nodes/${node}/terminal`, {
    ...look,
    read_only: flag(look.read_only),
    record: flag(look.record),
  })

export const sharedUrl = (share: string, cols: number, rows: number): string =>
  socketUrlOf(`/terminal-shares/${share}/terminal`, { cols, rows })
export const getShare = (id: string): Promise<TerminalShare> => http.get(`/terminal-shares/${id}`)
export const listShares = (node: string, session: string): Promise<{ items: TerminalShare[] }> =>
  http.get(`${base(node)}/${session}/shares`)
export const createShare = (node: string, session: string, ttlS: number): Promise<TerminalShare> =>
  http.post(`${base(node)}/${session}/shares`, { ttl_s: ttlS })
export const revokeShare = (id: string): Promise<unknown> => http.delete(`/terminal-shares/${id}`)

export const listRecordings = (query: Query): Promise<Page<Recording>> => http.get('/recordings', query)
export const getRecording = (id: string): Promise<Recording> => http.get(`/recordings/${id}`)
export const readCast = (id: string): Promise<string> => http.text(`/recordings/${id}/cast`)
export const deleteRecording = (id: string): Promise<unknown> => http.delete(`/recordings/${id}`)
export const getSettings = (): Promise<TerminalSettings> => http.get('/terminal-settings')
export const changeSettings = (change: Partial<TerminalSettings>): Promise<TerminalSettings> =>
  http.put('/terminal-settings', change)
