/** The nouns as the server sends them (docs/api.md). Times are RFC 3339 UTC; units stand in the names. */

export interface Page<T> {
  items: T[]
  total: number
}

export interface Reason {
  code: string
  message: string
  params?: Record<string, string | number>
}

export type Role = 'viewer' | 'operator' | 'admin' | 'regional'

export interface User {
  id: string
  username: string
  role: Role
  permissions: string[]
}

export interface Me {
  user: User
  csrf_token: string
}

export type NodeStatus = 'planned' | 'online' | 'suspect' | 'offline' | 'quarantined'

/** Current values by series name, e.g. `cpu_percent`. A series that is not measured is absent. */
export type Gauges = Record<string, number | null>

export interface Disk {
  name: string
  mount?: string
  fs_type?: string
  size_bytes?: number
  serial?: string
  model?: string
}

export interface Node {
  id: string
  name: string
  status: NodeStatus
  paused: boolean
  draining: boolean
  revoked: boolean
  hostname: string
  ip: string
  os: string
  arch: string
  platform: string
  kernel: string
  macs: string[]
  cpu_model: string
  cpu_cores: number
  mem_total_bytes: number
  disks: Disk[]
  fingerprint?: { boot_time_s?: number; ips?: string[]; machine_id?: string } | null
  labels: Record<string, string>
  worker_version: string
  last_seen: string | null
  clock_skew_s: number | null
  metrics: Gauges | null
}

export interface Manifest {
  name: string
  version: string
  description?: string
  os?: string
  arch?: string
  entrypoint?: string
  args?: string[]
  env?: Record<string, string>
  ports?: Record<string, number>
  log_paths?: Record<string, string>
  health?: { type?: string; target?: string; start_timeout?: string }
  restart?: { policy?: string }
  stop?: { signal?: string; timeout?: string }
  user?: string
}

export interface Package {
  name: string
  version: string
  sha256: string
  size_bytes: number
  manifest: Manifest
  created_at: string
  created_by: string
}

export interface System {
  id: string
  name: string
  description: string
  created_at: string
  modules?: number
}

export interface ConfigMount {
  path: string
  content: string
  mode?: string
}

export interface Module {
  id: string
  system_id: string
  name: string
  package: string
  version: string
  start_order: number
  depends_on: string[]
  replicas?: number | null
  placement: { labels?: Record<string, string> }
  args?: string[] | null
  env: Record<string, string>
  ports: Record<string, number>
  config_mounts?: ConfigMount[]
}

/** What POST and PATCH of a module take. */
export type ModuleDraft = Omit<Module, 'id' | 'system_id' | 'config_mounts'>

export type InstanceState =
  | 'pending'
  | 'preparing'
  | 'starting'
  | 'running'
  | 'stopping'
  | 'stopped'
  | 'backoff'
  | 'exited'
  | 'failed'
  | 'unknown'

export type Health = 'unknown' | 'starting' | 'healthy' | 'unhealthy'

export interface Instance {
  id: string
  system_id: string
  module_id: string
  node_id: string
  package: string
  version: string
  desired: 'running' | 'stopped' | 'absent'
  state: InstanceState
  health: Health
  origin: 'managed' | 'adopted'
  pid: number | null
  started_at: string | null
  exit_code: number | null
  restarts: number
  reason: Reason | null
  metrics: Gauges | null
  name: string
}

export interface InstanceEvent {
  id: number
  at: string
  kind: string
  state: InstanceState
  health: Health
  reason?: Reason | null
  pid?: number | null
  exit_code?: number | null
}

export type OperationState = 'pending' | 'running' | 'paused' | 'succeeded' | 'failed' | 'cancelled'

export interface OperationStep {
  name: string
  state: OperationState
  started_at?: string | null
  ended_at?: string | null
}

export interface OperationTarget {
  kind: string
  id: string
  name: string
  node_id: string | null
  state: OperationState
  step: string
  bytes_done: number
  bytes_total: number
  reason?: Reason | null
}

export interface Operation {
  id: string
  kind: string
  title: string
  state: OperationState
  reverted: boolean
  steps: OperationStep[]
  targets: OperationTarget[]
  error: Reason | null
  created_at: string
  updated_at: string
  ended_at: string | null
  created_by: string
}

export interface JoinToken {
  id: string
  token: string
  expires_at: string
  commands: Record<'linux' | 'windows' | 'darwin', string>
}

export interface LogFile {
  name: string
  size_bytes: number
}

export interface LogLine {
  at: string | null
  text: string
  /** Where the line starts in the file. */
  offset?: number
}

export interface LogLines {
  lines: LogLine[]
  /** The byte offset to ask for next, null at the beginning of the log. */
  before?: number | null
}

export interface Process {
  pid: number
  ppid: number
  name: string
  cmdline: string[]
  user: string
  cpu_percent: number
  mem_bytes: number
  started_at: string | null
  instance_id?: string | null
}

/** `[time in Unix seconds, average, maximum]`; a gap is an absent point. */
export type Point = [number, number, number]
export type Series = Record<string, Point[]>

export type InstanceAction = 'start' | 'stop' | 'restart' | 'kill'
export type SystemAction = 'deploy' | 'start' | 'stop' | 'restart' | 'destroy'
