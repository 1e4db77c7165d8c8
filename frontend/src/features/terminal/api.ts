import { http, socketUrlOf } from '@/api/http'
import type { TerminalSession } from '@/api/types'

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
}
export const lookUrl = (node: string, look: Look): string =>
  socketUrlOf(`/nodes/${node}/terminal`, { ...look, read_only: look.read_only ? 1 : undefined })
