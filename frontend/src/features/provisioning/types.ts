/** The nouns of installations, as the API tells them. Times are RFC 3339 UTC; units stand in the names. */

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
] as const
export type TaskStatus = (typeof TASK_STATUSES)[number]

export interface Reason {
  code: string
  message: string
}

export interface StatusChange {
  status: TaskStatus
  at: string
  by: string
  reason?: Reason | null
}

export interface Progress {
  step: string
  percent: number
  message: string
  at: string | null
  bytes_done: number | null
  bytes_total: number | null
}

export interface Intent {
  step: string
  fence: number
  disks: string[]
  begun_at: string
  done_at: string | null
}

export interface Approval {
  by: string
  at: string
  expires_at: string
  disks: string[]
  inventory_hash: string
  notes: string
  rule: string
  second_by: string
  overwrite_foreign: string[]
  used_at: string | null
}

export interface ImageRef {
  name: string
  version: string
  sha256: string
  size_bytes: number
  content_bytes: number
  format: string
  signature: string
  key_id: string
}

export interface Partition {
  name: string
  size: string
  filesystem: string
  mount?: string
}

export interface RaidArray {
  name: string
  level: string
  partition: string
  filesystem: string
  mount?: string
}

export interface VolumeGroup {
  name: string
  members: string[]
  volumes: Partition[]
}

export interface DiskLayout {
  kind: 'image' | 'plain'
  disks: number
  partitions: Partition[]
  raid: RaidArray[]
  volume_groups: VolumeGroup[]
  grow_root: boolean
}

export interface NetworkConfig {
  hostname: string
  interfaces: { mac: string; address?: string; gateway?: string }[]
  dns: string[]
}

export interface InstallSpec {
  method: string
  profile: string
  image: ImageRef | null
  disk_layout: DiskLayout | null
  network: NetworkConfig | null
  packages: string[]
  hardware_tests: string[]
  enrol: boolean
}

export interface Task {
  task_id: string
  idc: string
  sn: string
  mac: string
  os_type: string
  os_version: string
  status: TaskStatus
  created_at: string
  updated_at: string
  created_by: string
  install: InstallSpec
  tags: Record<string, string>
  status_history: StatusChange[]
  progress: Progress[]
  logs: string[]
  log_chunks: number
  approval: Approval | null
  intents: Intent[]
  reason: Reason | null
  attempt: number
  fence: number
  reported_mac: string
  deadline_at: string | null
  node_id: string
  called_home_at: string | null
  is_cancel_asked: boolean
}

export interface DiskInfo {
  name: string
  size_bytes: number
  serial: string
  wwn: string
  model: string
  is_rotational: boolean
  is_removable: boolean
  is_read_only: boolean
  signatures: string[]
}

export interface NicInfo {
  name: string
  mac: string
  driver: string
  speed_mbps: number
  has_link: boolean
}

export interface Hardware {
  firmware: 'bios' | 'uefi'
  arch: string
  vendor: string
  product: string
  bios_version: string
  cpu_model: string
  cpu_sockets: number
  cpu_cores: number
  cpu_threads: number
  mem_total_bytes: number
  disks: DiskInfo[]
  nics: NicInfo[]
  bmc_address: string
}

export interface Machine {
  idc: string
  sn: string
  uuid: string
  macs: string[]
  hardware: Hardware | null
  inventory_hash: string
  first_seen_at: string | null
  last_seen_at: string | null
  quarantined: string
  is_agent_alive: boolean
  task_id: string
  status: TaskStatus | null
}

export interface RegionSettings {
  name: string
  discovery: boolean
  max_installs: number
  needs_second_approval: boolean
  master_url: string
  protected_serials: string[]
}

export interface Idc {
  idc: string
  is_alive: boolean
  info: {
    client_id: string
    hostname: string
    version: string
    api_url: string
    dhcp: 'off' | 'proxy' | 'full'
    tftp: boolean
    started_at: string
    epoch: number
  } | null
  heartbeat: { at: string; installing: number; journal_entries: number; cache_bytes: number } | null
  settings: RegionSettings
  counts: Partial<Record<TaskStatus, number>>
}

export interface TaskLog {
  lines: string[]
}

export interface PlanStep {
  name: string
  words: string
  is_destructive: boolean
  disks: string[]
  devices: string[]
  commands: string[]
}

export interface DryRun {
  disks: string[]
  steps: PlanStep[]
}

/** What is not said comes from the profile and the catalogue. */
export interface NewTask {
  idc: string
  sn: string
  mac: string
  os_type: string
  os_version: string
  profile?: string
  disk_layout?: DiskLayout | null
  network?: NetworkConfig | null
  tags?: Record<string, string>
}

export interface BulkAnswer {
  created: number
  problems: { row: number; field: string; message: string }[]
}

export interface NewRule {
  name: string
  idc: string
  tags: Record<string, string>
  model: string
  disk_count: number | null
  max_uses: number
  is_enabled: boolean
}

export interface ApprovalRule extends NewRule {
  id: string
  used: number
  created_by: string
  created_at: string
}
