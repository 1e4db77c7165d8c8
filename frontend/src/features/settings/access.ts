/** Role, grants and scope as a form writes them, and as the API takes them. Pure. */
import type { Permission, Role } from '@/api/types'
import { formatLabels, parseLabels } from '@/shared/format'
import type { Access } from './api'

export type Holder = 'user' | 'token'

export interface AccessText {
  role: Role
  grants: Permission[]
  /** k=v by commas; empty is every node. */
  scope: string
}

/** What no role brings by itself, except that a person who administers has them all. */
export const GRANTS = [
  'exec',
  'terminal',
  'takeover',
  'wipe.approve',
  'secrets',
] as const satisfies Permission[]

export const ROLES: Record<Holder, Role[]> = {
  user: ['viewer', 'operator', 'admin'],
  token: ['viewer', 'operator', 'admin', 'regional'],
}

/** Administrators have every grant as persons; a token has only those it was given. */
export function carriesGrants(holder: Holder, role: Role): boolean {
  return role === 'operator' || (role === 'admin' && holder === 'token')
}

export function accessTextOf(access: Access | null): AccessText {
  return {
    role: access?.role ?? 'viewer',
    grants: [...(access?.grants ?? [])],
    scope: formatLabels(access?.scope ?? {}),
  }
}

export function accessOf(text: AccessText, holder: Holder): Access {
  return {
    role: text.role,
    grants: carriesGrants(holder, text.role) ? GRANTS.filter((grant) => text.grants.includes(grant)) : [],
    scope: parseLabels(text.scope) ?? {},
  }
}

/** The separate grants among a token's permissions. */
export function grantsAmong(permissions: Permission[]): Permission[] {
  return GRANTS.filter((grant) => permissions.includes(grant))
}

/** Which parts of `after` differ, so that a change of one does not write the others. */
export function changedAccess(before: Access, after: Access): Partial<Access> {
  const differs = (name: keyof Access): boolean => spell(before[name]) !== spell(after[name])
  const names = (['role', 'grants', 'scope'] as const).filter(differs)
  // A new role without grants takes the old ones away; with them it says which stay.
  if (names.includes('role') && !names.includes('grants')) names.push('grants')
  return Object.fromEntries(names.map((name) => [name, after[name]]))
}

function spell(value: Access[keyof Access]): string {
  if (typeof value === 'string') return value
  return JSON.stringify(Array.isArray(value) ? [...value].sort() : Object.entries(value).sort())
}
