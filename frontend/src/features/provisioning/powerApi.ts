import { http } from '@/api/http'
import type { Operation } from '@/api/types'
import type { Placed } from './live'

export const BMC_KINDS = ['redfish', 'ipmi', 'manual'] as const
export type BmcKind = (typeof BMC_KINDS)[number]
export type PowerAction = 'on' | 'off' | 'cycle' | 'netboot'

export interface Bmc {
  kind: BmcKind
  address: string
  username: string
  has_password: boolean
  certificate_sha256: string
  allow_plain_http: boolean
  system: string
}

export type BmcSettings = Omit<Bmc, 'has_password'> & { password?: string }

export interface Power {
  kind: BmcKind
  state: 'on' | 'off' | 'unknown'
  at: string
  identity: { serials: string[]; uuids: string[]; vendor: string; product: string }
  is_this_machine: boolean
  wish: { action: PowerAction; operation: string; by: string; until: string } | null
}

const pathOf = ({ idc, sn }: Placed, what: string): string =>
  `/machines/${encodeURIComponent(idc)}/${encodeURIComponent(sn)}/${what}`

export const readBmc = (of: Placed): Promise<Bmc> => http.get(pathOf(of, 'bmc'))
export const saveBmc = (of: Placed, settings: BmcSettings): Promise<Bmc> =>
  http.put(pathOf(of, 'bmc'), settings)
export const forgetBmc = (of: Placed): Promise<unknown> => http.delete(pathOf(of, 'bmc'))
export const readPower = (of: Placed): Promise<Power> => http.get(pathOf(of, 'power'))
export const orderPower = async (of: Placed, action: PowerAction, force: boolean): Promise<Operation> =>
  (await http.post<{ operation: Operation }>(pathOf(of, 'power'), { action, force })).operation
