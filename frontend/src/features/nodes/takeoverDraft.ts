/** What a person types to take a process over, and what of it is sent. Pure; the server judges in the end. */
import type { NewAdoption, Process, TakeoverWish } from '@/api/types'
import { probeTarget } from './ports'

export const STRATEGIES = ['pid', 'pidfile', 'match'] as const
export const PROBES = ['process', 'tcp', 'http', 'command'] as const
export type Strategy = (typeof STRATEGIES)[number]

export interface TakeoverText {
  strategy: Strategy
  pid: string
  pidFile: string
  processName: string
  executable: string
  uid: string
  workDir: string
  start: string
  stop: string
  restart: string
  reload: string
  probe: (typeof PROBES)[number]
  target: string
  logs: string
  ports: string
  systemId: string
  systemName: string
  name: string
}
export type Field = keyof TakeoverText
export type Wish = Partial<TakeoverWish> & Pick<TakeoverWish, 'pid_strategy'>
export type Adoption = Partial<NewAdoption> & Wish

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const ABSOLUTE = /^(?:\/|[A-Za-z]:[\\/])/
const MAX_NAME = 64
const MAX_MATCH = 200

/** A name the server takes, made of the process's own. */
function nameOf(process: Process | undefined): string {
  const name = (process?.name ?? '').replaceAll(/[^\w.-]/g, '-').replace(/^[^A-Za-z0-9]+/, '')
  return name.slice(0, MAX_NAME)
}

export function draftOf(process: Process | undefined): TakeoverText {
  const target = process ? probeTarget(process) : ''
  const words = process ? [process.name, ...process.cmdline.slice(1)].join(' ') : ''
  return {
    strategy: process ? 'pid' : 'pidfile',
    pid: process ? String(process.pid) : '',
    pidFile: '',
    processName: words.slice(0, MAX_MATCH).trim(),
    executable: process?.exe ?? '',
    uid: process?.uid === null || process?.uid === undefined ? '' : String(process.uid),
    workDir: '',
    start: '',
    stop: '',
    restart: '',
    reload: '',
    probe: target ? 'tcp' : 'process',
    target,
    logs: '',
    ports: '',
    systemId: '',
    systemName: '',
    name: nameOf(process),
  }
}

/** `name=value` lines as pairs; null where a line is none. */
function pairsOf(text: string, isValue: (value: string) => boolean): [string, string][] | null {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
  const pairs = lines.map((line): [string, string] => {
    const at = line.indexOf('=')
    return at < 0 ? ['', ''] : [line.slice(0, at).trim(), line.slice(at + 1).trim()]
  })
  return pairs.every(([name, value]) => name !== '' && isValue(value)) ? pairs : null
}
const logPairs = (text: string): [string, string][] | null => pairsOf(text, (path) => ABSOLUTE.test(path))
const portPairs = (text: string): [string, string][] | null =>
  pairsOf(text, (port) => /^\d{1,5}$/.test(port) && Number(port) > 0 && Number(port) < 65_536)

/** Fields of the first step that cannot be sent. */
export function wrongWhat(text: TakeoverText): Field[] {
  const wrong: Field[] = []
  if (text.strategy === 'pid' && !/^[1-9]\d{0,6}$/.test(text.pid.trim())) wrong.push('pid')
  if (text.strategy === 'pidfile' && !ABSOLUTE.test(text.pidFile.trim())) wrong.push('pidFile')
  if (text.strategy === 'match' && !text.processName.trim()) wrong.push('processName')
  for (const field of ['executable', 'workDir'] as const)
    if (text[field].trim() && !ABSOLUTE.test(text[field].trim())) wrong.push(field)
  if (text.uid.trim() && !/^\d{1,10}$/.test(text.uid.trim())) wrong.push('uid')
  return wrong
}

/** Fields of the second step that cannot be sent. */
export function wrongHow(text: TakeoverText): Field[] {
  const wrong: Field[] = []
  if (text.probe !== 'process' && !text.target.trim()) wrong.push('target')
  if (logPairs(text.logs) === null) wrong.push('logs')
  if (portPairs(text.ports) === null) wrong.push('ports')
  if (!NAME.test(text.name.trim())) wrong.push('name')
  if (!text.systemId && !text.systemName.trim()) wrong.push('systemName')
  return wrong
}

/** What a preview asks; commands go as text, the server splits them and no shell sees them. */
export function wishOf(text: TakeoverText): Wish {
  const { strategy } = text
  return {
    pid_strategy: strategy,
    ...(strategy === 'pid' ? { pid: Number(text.pid) } : {}),
    ...(strategy === 'pidfile' ? { pid_file: text.pidFile.trim() } : {}),
    ...(strategy === 'match' ? { process_name: text.processName.trim() } : {}),
    executable: text.executable.trim(),
    uid: text.uid.trim() ? Number(text.uid) : null,
    external_work_dir: text.workDir.trim(),
    start_command: text.start.trim(),
    stop_command: text.stop.trim(),
    restart_command: text.restart.trim(),
    reload_command: text.reload.trim(),
  }
}

export function adoptionOf(text: TakeoverText, nodeId: string, systemId: string): Adoption {
  const ports = (portPairs(text.ports) ?? []).map(([name, port]) => [name, Number(port)])
  const health = { type: text.probe, target: text.probe === 'process' ? '' : text.target.trim() }
  return {
    ...wishOf(text),
    node_id: nodeId,
    system_id: systemId,
    name: text.name.trim(),
    log_paths: Object.fromEntries(logPairs(text.logs) ?? []),
    ports: Object.fromEntries(ports) as Record<string, number>,
    health: health as NewAdoption['health'],
  }
}
