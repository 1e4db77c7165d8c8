/** The nouns of installations by their short names. Times are RFC 3339 UTC; units stand in the names. */
import type { components } from '@/api/schema'

type Schemas = components['schemas']

/** In the order of the road, then the ends beside it. */
export const TASK_STATUSES = [
  'pending',
  'booting',
  'pending_approval',
  'approved',
  'installing',
  'completed',
  'needs_operator',
  'failed',
  'rejected',
  'cancelled',
] as const satisfies Schemas['TaskStatus'][]
export type TaskStatus = Schemas['TaskStatus']

export type StatusChange = Schemas['StatusChange']
export type Progress = Schemas['Progress']
export type DiskLayout = Schemas['DiskLayout']
export type NetworkConfig = Schemas['NetworkConfig']
export type InstallSpec = Schemas['InstallView']
export type Task = Schemas['TaskView']
export type TaskLog = Schemas['TaskLogView']
export type DryRun = Schemas['DryRun']
export type DryStep = Schemas['DryStep']
/** What is not said comes from the profile and the catalogue. */
export type NewTask = Pick<Schemas['TaskOrder'], 'idc' | 'sn' | 'mac' | 'os_type'> &
  Partial<Schemas['TaskOrder']>
export type BulkAnswer = Schemas['BulkAnswer']

export type DiskInfo = Schemas['DiskInfo']
export type Machine = Schemas['MachineView']

export type RegionSettings = Schemas['RegionSettings']
export type Idc = Schemas['IdcView']

export type NewRule = Schemas['NewApprovalRule']
export type ApprovalRule = Schemas['ApprovalRule']
