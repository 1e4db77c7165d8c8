/** What a module changes of its package's probe, restart policy and files: form text and API. Empty keeps the package's. Pure. */
import type { ConfigMount, HealthOverride, Manifest, RestartOverride } from '@/api/types'

export interface HealthText {
  type: string
  target: string
  interval: string
  timeout: string
  failures: string
  start_timeout: string
}
export interface RestartText {
  policy: string
  delay: string
  max_delay: string
  max_restarts: string
  window: string
  /** Numbers by commas. */
  success_codes: string
}
export type MountText = Required<ConfigMount>

export const PROBES = ['process', 'http', 'tcp', 'command']
export const POLICIES = ['on-failure', 'always', 'never']
export const NEW_MOUNT: MountText = {
  path: '',
  content: '',
  mode: '0640',
  template: '',
  template_version: null,
}

const HEALTH_TEXT: HealthText = {
  type: '',
  target: '',
  interval: '',
  timeout: '',
  failures: '',
  start_timeout: '',
}
const RESTART_TEXT: RestartText = {
  policy: '',
  delay: '',
  max_delay: '',
  max_restarts: '',
  window: '',
  success_codes: '',
}

const DURATION = /^(\d+(\.\d+)?(ms|s|m|h|d))+$/
const COUNT = /^\d{1,6}$/
const CODES = /^\d{1,3}(\s*,\s*\d{1,3})*$/
const MODE = /^0?[0-7]{3}$/
const INSIDE = /^(?!\/)(?![A-Za-z]:)(?!.*\\)(?!(.*\/)?\.{1,2}(\/|$))(?!.*\/$)(?!.*\/\/).+$/

function textsOf<T extends object>(empty: T, values: Record<string, unknown>): T {
  const filled = Object.entries(values).filter(([, value]) => value !== undefined)
  return { ...empty, ...Object.fromEntries(filled.map(([key, value]) => [key, [value].flat().join(', ')])) }
}

export const healthTextOf = (health: HealthOverride | Manifest['health'] | null | undefined): HealthText =>
  textsOf(HEALTH_TEXT, { ...health })
export const restartTextOf = (
  restart: RestartOverride | Manifest['restart'] | null | undefined,
): RestartText => textsOf(RESTART_TEXT, { ...restart })
export const mountTextsOf = (mounts: ConfigMount[]): MountText[] =>
  mounts.map((mount) => ({ ...NEW_MOUNT, ...mount }))

const fits = (text: string, pattern: RegExp): boolean => text.trim() === '' || pattern.test(text.trim())

export function isHealthFine(text: HealthText): boolean {
  const durations = [text.interval, text.timeout, text.start_timeout]
  return durations.every((one) => fits(one, DURATION)) && fits(text.failures, COUNT)
}

export function isRestartFine(text: RestartText): boolean {
  const durations = [text.delay, text.max_delay, text.window]
  const areNumbersFine = fits(text.max_restarts, COUNT) && fits(text.success_codes, CODES)
  return durations.every((one) => fits(one, DURATION)) && areNumbersFine
}

/** Each a path inside the instance's folder, none twice, each mode octal. */
export function areMountsFine(mounts: MountText[]): boolean {
  const paths = mounts.map(({ path }) => path.trim())
  const isEach = mounts.every(({ mode }, index) => INSIDE.test(paths[index] ?? '') && MODE.test(mode.trim()))
  return isEach && new Set(paths).size === paths.length
}

/** The filled fields by the server's types; null when nothing is filled. */
function overrideOf(
  text: object,
  read: (key: string, value: string) => unknown,
): Record<string, unknown> | null {
  const filled = Object.entries(text as Record<string, string>)
    .map(([key, value]) => [key, value.trim()] as const)
    .filter(([, value]) => value !== '')
  return filled.length > 0 ? Object.fromEntries(filled.map(([key, value]) => [key, read(key, value)])) : null
}

export function healthOf(text: HealthText): HealthOverride | null {
  return overrideOf(text, (key, value) => (key === 'failures' ? Number(value) : value))
}

export function restartOf(text: RestartText): RestartOverride | null {
  return overrideOf(text, (key, value) => {
    if (key === 'success_codes') return value.split(',').map(Number)
    return key === 'max_restarts' ? Number(value) : value
  })
}

export const mountsOf = (mounts: MountText[]): ConfigMount[] =>
  mounts.map(({ path, mode, content, template, template_version }) => ({
    path: path.trim(),
    mode: mode.trim(),
    content: template ? '' : content,
    template,
    template_version: template ? template_version : null,
  }))

/** `type=http interval=5s`, for reading. */
export function spellOverride(override: object | null | undefined): string {
  return Object.entries(override ?? {})
    .map(([key, value]) => `${key}=${[value].flat().join(',')}`)
    .join(' ')
}
