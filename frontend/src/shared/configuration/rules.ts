/** Levels of values, and which instances a change is looked at for. Pure. */
import type { LayeredValue, Variable } from '@/api/types'

/** Exactly one thing whose instances are meant. */
export type Reach =
  { template_id: string } | { system_id: string } | { module_id: string } | { instance_id: string }

export interface Subject {
  kind: 'module' | 'instance'
  id: string
}

/** Where variables are set; the nearer to the instance wins. */
export type Level = 'global' | 'system' | 'module' | 'instance'

export interface Owner {
  level: Level
  /** `global`, or the id of a system, module or instance. */
  id: string
  name: string
}

/** One line of a table of values. */
export interface ValueRow {
  name: string
  value: string | null
  isSecret: boolean
  /** Set at the level that is written: only there can it be taken away. */
  isOwn: boolean
  origin?: LayeredValue['origin']
  hides?: LayeredValue['origin'][]
}

export const MAX_PARALLEL = 100

export const isVariableName = (name: string): boolean => /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)
export const isEnvName = (name: string): boolean => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)

export function layeredRows(values: LayeredValue[], own: Level | null): ValueRow[] {
  return values.map(({ name, value, is_secret, origin, hides }) => ({
    name,
    value,
    isSecret: is_secret,
    isOwn: origin === own,
    origin,
    // The nearest first: that is what shows again when this one is taken away.
    hides: hides.toReversed(),
  }))
}

export function variableRows(variables: Variable[]): ValueRow[] {
  return variables.map(({ name, value, is_secret }) => ({ name, value, isSecret: is_secret, isOwn: true }))
}

/** Whom a change at this level is brought to from here: beyond its system nobody is asked for. */
export function reachOf({ level, id }: Owner): Reach | null {
  switch (level) {
    case 'system':
      return { system_id: id }
    case 'module':
      return { module_id: id }
    case 'instance':
      return { instance_id: id }
    case 'global':
      return null
  }
}
