/** The module form's text as what the API takes, and back. Pure. */
import type { Manifest, Module, ModuleDraft } from '@/api/types'
import { formatLabels, parseLabels } from '@/shared/format'
import {
  areMountsFine,
  healthOf,
  healthTextOf,
  isHealthFine,
  isRestartFine,
  mountsOf,
  mountTextsOf,
  restartOf,
  restartTextOf,
  type HealthText,
  type MountText,
  type RestartText,
} from './overrides'
import { areSecretsFine, secretsOf, secretTextsOf, type SecretText } from './secrets'

export interface ModuleText {
  name: string
  package: string
  version: string
  startOrder: number
  dependsOn: string[]
  replicas: string
  placement: string
  /** A label key; empty spreads over nothing. */
  spreadBy: string
  /** One argument a line; empty takes the package's. */
  args: string
  /** KEY=VALUE a line. */
  env: string
  secrets: SecretText[]
  /** name=port, by commas. */
  ports: string
  health: HealthText
  restart: RestartText
  mounts: MountText[]
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

export function textOf(module: Module | null): ModuleText {
  return {
    name: module?.name ?? '',
    package: module?.package ?? '',
    version: module?.version ?? '',
    startOrder: module?.start_order ?? 0,
    dependsOn: module?.depends_on ?? [],
    replicas: module?.replicas ? String(module.replicas) : '',
    placement: formatLabels(module?.placement.labels ?? {}),
    spreadBy: module?.placement.spread_by ?? '',
    args: module?.args?.join('\n') ?? '',
    env: Object.entries(module?.env ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join('\n'),
    secrets: secretTextsOf(module?.env_secrets ?? []),
    ports: formatLabels(
      Object.fromEntries(Object.entries(module?.ports ?? {}).map(([k, v]) => [k, String(v)])),
    ),
    health: healthTextOf(module?.health),
    restart: restartTextOf(module?.restart),
    mounts: mountTextsOf(module?.config_mounts ?? []),
  }
}

/** KEY=VALUE lines; a value keeps its commas and spaces. Null when a line is not understood. */
export function parseEnv(text: string): Record<string, string> | null {
  const lines = text.split('\n').filter((line) => line.trim())
  const pairs = lines.map((line) => /^\s*([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(line))
  if (pairs.includes(null)) return null
  return Object.fromEntries(pairs.map((pair) => [pair?.[1] ?? '', pair?.[2] ?? '']))
}

export function parsePorts(text: string): Record<string, number> | null {
  const pairs = Object.entries(parseLabels(text) ?? { '': 'x' }).map(
    ([name, port]) => [name, Number(port)] as const,
  )
  const isFine = pairs.every(([, port]) => Number.isInteger(port) && port >= 1 && port <= 65535)
  return isFine ? Object.fromEntries(pairs) : null
}

export type Field =
  | 'name'
  | 'package'
  | 'version'
  | 'replicas'
  | 'placement'
  | 'env'
  | 'secrets'
  | 'ports'
  | 'health'
  | 'restart'
  | 'mounts'

/** Fields that are filled wrongly. */
export function wrongFields(text: ModuleText): Field[] {
  const checks: [Field, boolean][] = [
    ['name', NAME.test(text.name)],
    ['package', text.package !== ''],
    ['version', text.version !== ''],
    ['replicas', text.replicas === '' || /^[1-9]\d{0,3}$/.test(text.replicas)],
    ['placement', parseLabels(text.placement) !== null],
    ['env', parseEnv(text.env) !== null],
    ['secrets', areSecretsFine(text.secrets, Object.keys(parseEnv(text.env) ?? {}))],
    ['ports', parsePorts(text.ports) !== null],
    ['health', isHealthFine(text.health)],
    ['restart', isRestartFine(text.restart)],
    ['mounts', areMountsFine(text.mounts)],
  ]
  return checks.filter(([, isFine]) => !isFine).map(([field]) => field)
}

export function draftOf(text: ModuleText): ModuleDraft {
  const args = text.args.split('\n').filter((line) => line !== '')
  const secrets = secretsOf(text.secrets)
  return {
    name: text.name,
    package: text.package,
    version: text.version,
    start_order: text.startOrder,
    depends_on: text.dependsOn,
    replicas: text.replicas === '' ? null : Number(text.replicas),
    placement: { labels: parseLabels(text.placement) ?? {}, spread_by: text.spreadBy.trim() },
    args: args.length > 0 ? args : null,
    env: parseEnv(text.env) ?? {},
    ...(Object.keys(secrets).length > 0 ? { env_secrets: secrets } : {}),
    ports: parsePorts(text.ports) ?? {},
    health: healthOf(text.health),
    restart: restartOf(text.restart),
    config_mounts: mountsOf(text.mounts),
  }
}

/** What the package says where the form says nothing. */
export function hintsOf(manifest: Manifest | undefined): { ports: string; args: string; env: string } {
  const pairs = (values: Record<string, unknown> = {}): string[] =>
    Object.entries(values).map(([k, v]) => `${k}=${v}`)
  return {
    ports: pairs(manifest?.ports).join(', '),
    args: (manifest?.args ?? []).join('\n'),
    env: pairs(manifest?.env).join('\n'),
  }
}
