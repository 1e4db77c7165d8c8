/** Names as people read them. Pure. */
import type { Idc, Task } from './types'

/** "Ubuntu 22.04", whether the type carries its version or not. */
export const osOf = ({ os_type: type, os_version: version }: Pick<Task, 'os_type' | 'os_version'>): string =>
  version && !type.endsWith(version) ? `${type} ${version}` : type

/** Whether the regional client of a data centre is heard; `never`: none has come yet. */
export const stateOfIdc = ({
  is_alive,
  info,
}: Pick<Idc, 'is_alive' | 'info'>): 'online' | 'silent' | 'never' =>
  is_alive ? 'online' : info ? 'silent' : 'never'
