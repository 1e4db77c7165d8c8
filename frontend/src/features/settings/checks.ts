/** What an administrator should know about the state of security, from lists anyone with that role may read. Pure. */
import type { ApiToken, JoinToken, Session, User } from '@/api/types'

export interface Seen {
  /** This page came over TLS. */
  isEncrypted: boolean
  /** This page came from the same machine. */
  isLoopback: boolean
  users: User[]
  tokens: ApiToken[]
  joinTokens: JoinToken[]
  sessions: Session[]
}

export type CheckId =
  | 'encrypted'
  | 'loopback'
  | 'plain'
  | 'factor'
  | 'oneAdmin'
  | 'admins'
  | 'endless'
  | 'tokens'
  | 'join'
  | 'sessions'

export interface Check {
  id: CheckId
  isFine: boolean
  params: { count: number; names: string }
  /** Where to do something about it. */
  to?: string
}

const check = (id: CheckId, isFine: boolean, names: string[], to?: string, count = names.length): Check => ({
  id,
  isFine,
  params: { count, names: names.join(', ') },
  ...(to === undefined ? {} : { to }),
})

export function checksOf(seen: Seen): Check[] {
  const active = seen.users.filter((user) => !user.is_disabled)
  const administrators = active.filter(({ role }) => role === 'admin').map(({ username }) => username)
  const bare = active.filter(({ role, has_totp }) => role !== 'viewer' && !has_totp)
  const endless = seen.tokens.filter(({ expires_at }) => expires_at === null).map(({ name }) => name)
  const isAlone = administrators.length === 1
  return [
    connectionOf(seen),
    check(isAlone ? 'oneAdmin' : 'admins', !isAlone, administrators, '/settings/users'),
    check(
      'factor',
      bare.length === 0,
      bare.map(({ username }) => username),
      '/settings/users',
    ),
    check(
      'tokens',
      true,
      seen.tokens.map(({ name }) => name),
      '/settings/tokens',
    ),
    check('endless', endless.length === 0, endless, '/settings/tokens'),
    check(
      'join',
      true,
      [],
      '/settings/join-tokens',
      seen.joinTokens.filter(({ uses_left }) => uses_left > 0).length,
    ),
    check('sessions', true, [], '/settings/sessions', seen.sessions.length),
  ]
}

function connectionOf({ isEncrypted, isLoopback }: Seen): Check {
  if (isEncrypted) return check('encrypted', true, [])
  return isLoopback ? check('loopback', true, []) : check('plain', false, [])
}
