import { http } from '@/api/http'
import type { components } from '@/api/schema'
import type { Operation } from '@/api/types'
import type { Placed } from './live'

type Schemas = components['schemas']

export type Bmc = Schemas['Bmc']
export type BmcKind = Bmc['kind']
export const BMC_KINDS = ['redfish', 'ipmi', 'manual'] as const satisfies BmcKind[]
export type PowerAction = Schemas['PowerAction']
export type Power = Schemas['Power']
/** A password that is not given stays. */
export type BmcSettings = Omit<Schemas['BmcSettings'], 'password'> & { password?: string }

const pathOf = ({ idc, sn }: Placed, what: string): string =>
  `/machines/${encodeURIComponent(idc)}/${encodeURIComponent(sn)}/${what}`

export const readBmc = (of: Placed): Promise<Bmc> => http.get(pathOf(of, 'bmc'))
export const saveBmc = (of: Placed, settings: BmcSettings): Promise<Bmc> =>
  http.put(pathOf(of, 'bmc'), settings)
export const forgetBmc = (of: Placed): Promise<unknown> => http.delete(pathOf(of, 'bmc'))
export const readPower = (of: Placed): Promise<Power> => http.get(pathOf(of, 'power'))
export const orderPower = async (of: Placed, action: PowerAction, force: boolean): Promise<Operation> =>
  (await http.post<{ operation: Operation }>(pathOf(of, 'power'), { action, force })).operation
