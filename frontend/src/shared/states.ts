/** State = colour and shape and word. The one table that says which. */

export type Tone = 'ok' | 'busy' | 'idle' | 'warn' | 'bad' | 'unknown' | 'paused'

export interface Look {
  tone: Tone
  shape: string
}

const RUNNING = '●'
const MOVING = '◐'
const STILL = '○'
const RETRY = '▲'
const BROKEN = '✕'
const UNSURE = '?'

const INSTANCE: Record<string, Look> = {
  pending: { tone: 'busy', shape: MOVING },
  preparing: { tone: 'busy', shape: MOVING },
  starting: { tone: 'busy', shape: MOVING },
  running: { tone: 'ok', shape: RUNNING },
  stopping: { tone: 'busy', shape: MOVING },
  stopped: { tone: 'idle', shape: STILL },
  exited: { tone: 'idle', shape: STILL },
  backoff: { tone: 'warn', shape: RETRY },
  failed: { tone: 'bad', shape: BROKEN },
  unknown: { tone: 'unknown', shape: UNSURE },
}

const NODE: Record<string, Look> = {
  online: { tone: 'ok', shape: RUNNING },
  planned: { tone: 'idle', shape: STILL },
  suspect: { tone: 'warn', shape: RETRY },
  offline: { tone: 'bad', shape: BROKEN },
  quarantined: { tone: 'paused', shape: BROKEN },
}

const OPERATION: Record<string, Look> = {
  pending: { tone: 'idle', shape: STILL },
  running: { tone: 'busy', shape: MOVING },
  paused: { tone: 'paused', shape: STILL },
  succeeded: { tone: 'ok', shape: RUNNING },
  failed: { tone: 'bad', shape: BROKEN },
  cancelled: { tone: 'idle', shape: STILL },
}

const HEALTH: Record<string, Look> = {
  unknown: { tone: 'unknown', shape: UNSURE },
  starting: { tone: 'busy', shape: MOVING },
  healthy: { tone: 'ok', shape: RUNNING },
  unhealthy: { tone: 'bad', shape: BROKEN },
}

/** How an audited act ended. */
const OUTCOME: Record<string, Look> = {
  done: { tone: 'ok', shape: RUNNING },
  denied: { tone: 'warn', shape: RETRY },
  failed: { tone: 'bad', shape: BROKEN },
}

/** How bad an alert is. */
const SEVERITY: Record<string, Look> = {
  critical: { tone: 'bad', shape: BROKEN },
  warning: { tone: 'warn', shape: RETRY },
  info: { tone: 'busy', shape: RUNNING },
}

const ALERT: Record<string, Look> = {
  pending: { tone: 'busy', shape: MOVING },
  firing: { tone: 'bad', shape: BROKEN },
  no_data: { tone: 'unknown', shape: UNSURE },
  resolved: { tone: 'ok', shape: RUNNING },
}

const SILENCE: Record<string, Look> = {
  scheduled: { tone: 'idle', shape: STILL },
  active: { tone: 'paused', shape: MOVING },
  expired: { tone: 'idle', shape: STILL },
}

/** How far a message of a channel has come. */
const DELIVERY: Record<string, Look> = {
  pending: { tone: 'busy', shape: MOVING },
  sent: { tone: 'ok', shape: RUNNING },
  failed: { tone: 'bad', shape: BROKEN },
}

/** How sound a backup is, as far as somebody has looked. */
const BACKUP: Record<string, Look> = {
  verified: { tone: 'ok', shape: RUNNING },
  unverified: { tone: 'unknown', shape: UNSURE },
  damaged: { tone: 'bad', shape: BROKEN },
}

/** What became of a scheduled run. */
const RUN: Record<string, Look> = { ...OPERATION, skipped: { tone: 'warn', shape: RETRY } }

/** Where an installation stands: it waits for a person where it warns. */
const TASK: Record<string, Look> = {
  pending: { tone: 'idle', shape: STILL },
  booting: { tone: 'busy', shape: MOVING },
  pending_approval: { tone: 'warn', shape: RETRY },
  approved: { tone: 'busy', shape: MOVING },
  installing: { tone: 'busy', shape: MOVING },
  completed: { tone: 'ok', shape: RUNNING },
  needs_operator: { tone: 'bad', shape: RETRY },
  failed: { tone: 'bad', shape: BROKEN },
  rejected: { tone: 'idle', shape: BROKEN },
  cancelled: { tone: 'idle', shape: STILL },
}

/** Whether the regional client of a data centre is heard. */
const IDC: Record<string, Look> = {
  online: { tone: 'ok', shape: RUNNING },
  silent: { tone: 'bad', shape: BROKEN },
  never: { tone: 'idle', shape: STILL },
}

/** What is known of a bare machine. */
const MACHINE: Record<string, Look> = {
  expected: { tone: 'idle', shape: STILL },
  reported: { tone: 'ok', shape: RUNNING },
  quarantined: { tone: 'paused', shape: BROKEN },
}

const POWER: Record<string, Look> = {
  on: { tone: 'ok', shape: RUNNING },
  off: { tone: 'idle', shape: STILL },
  unknown: { tone: 'unknown', shape: UNSURE },
}

/** Whether a publisher stands behind an image. */
const SIGNATURE: Record<string, Look> = {
  signed: { tone: 'ok', shape: RUNNING },
  unsigned: { tone: 'unknown', shape: UNSURE },
}

export const LOOKS = {
  task: TASK,
  idc: IDC,
  machine: MACHINE,
  power: POWER,
  signature: SIGNATURE,
  backup: BACKUP,
  run: RUN,
  instance: INSTANCE,
  node: NODE,
  operation: OPERATION,
  health: HEALTH,
  outcome: OUTCOME,
  delivery: DELIVERY,
  severity: SEVERITY,
  alert: ALERT,
  silence: SILENCE,
}
export type StateKind = keyof typeof LOOKS

const NOT_UNDERSTOOD: Look = { tone: 'unknown', shape: UNSURE }

export function lookOf(kind: StateKind, state: string): Look {
  return LOOKS[kind][state] ?? NOT_UNDERSTOOD
}

/** The CSS colour of a tone, for charts, bars and cells. */
export function colorOf(tone: Tone): string {
  const name: Record<Tone, string> = {
    ok: 'ok',
    busy: 'accent',
    idle: 'unknown',
    warn: 'warn',
    bad: 'bad',
    unknown: 'unknown',
    paused: 'paused',
  }
  return `var(--ops-${name[tone]})`
}
