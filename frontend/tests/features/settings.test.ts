import { describe, expect, it } from 'vitest'
import type { ApiToken, JoinToken, Permission, Session, User } from '@/api/types'
import { accessOf, carriesGrants, changedAccess, grantsAmong } from '@/features/settings/access'
import { checksOf, type Seen } from '@/features/settings/checks'
import { spellBrowser } from '@/features/settings/userAgent'

describe('what a user may do', () => {
  it('has grants only where the role carries them', () => {
    const text = { role: 'viewer' as const, grants: ['exec'] as Permission[], scope: 'zone=a' }
    expect(accessOf(text, 'user')).toEqual({ role: 'viewer', grants: [], scope: { zone: 'a' } })
    expect(accessOf({ ...text, role: 'operator' }, 'user').grants).toEqual(['exec'])
    expect(carriesGrants('user', 'admin')).toBe(false)
    expect(carriesGrants('token', 'admin')).toBe(true)
  })
  it('writes only what changed', () => {
    const before = { role: 'operator', grants: ['exec', 'terminal'] as Permission[], scope: {} } as const
    const same = { ...before, grants: ['terminal', 'exec'] as Permission[] }
    expect(changedAccess({ ...before, grants: [...before.grants] }, same)).toEqual({})
    expect(changedAccess(same, { ...same, scope: { zone: 'a' } })).toEqual({ scope: { zone: 'a' } })
  })
  it('says which grants stay when the role changes', () => {
    const before = { role: 'operator' as const, grants: ['exec'] as Permission[], scope: {} }
    expect(changedAccess(before, { ...before, role: 'admin' })).toEqual({ role: 'admin', grants: ['exec'] })
  })
  it('finds the separate grants among permissions', () => {
    expect(grantsAmong(['self', 'view', 'secrets', 'operate', 'exec'])).toEqual(['exec', 'secrets'])
  })
})

describe('a browser by its user agent', () => {
  const linux = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)'
  it.each([
    [`${linux} Chrome/131.0.0.0 Safari/537.36`, 'Chrome 131 · Linux'],
    [`${linux} HeadlessChrome/131.0.0.0 Safari/537.36`, 'Chrome 131 · Linux'],
    [
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0',
      'Firefox 132 · Windows',
    ],
    [
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36 Edg/130.0',
      'Edge 130 · Windows',
    ],
    [
      'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15',
      'Safari 17 · macOS',
    ],
    ['curl/8.9', 'curl/8.9'],
    ['', '–'],
  ])('%s', (agent, words) => expect(spellBrowser(agent)).toBe(words))
})

describe('the state of security', () => {
  const user = (more: Partial<User>): User =>
    ({ username: 'u', role: 'viewer', has_totp: false, is_disabled: false, ...more }) as User
  const seen: Seen = {
    isEncrypted: true,
    isLoopback: false,
    users: [
      user({ username: 'root', role: 'admin', has_totp: true }),
      user({ username: 'gone', role: 'admin', is_disabled: true }),
      user({ username: 'op', role: 'operator' }),
      user({ username: 'eve' }),
    ],
    tokens: [
      { name: 'ci', expires_at: null },
      { name: 'short', expires_at: '2030-01-01' },
    ] as ApiToken[],
    joinTokens: [{ uses_left: 0 }, { uses_left: 2 }] as JoinToken[],
    sessions: [{}] as Session[],
  }
  const of = (id: string, from: Seen = seen): unknown => {
    const found = checksOf(from).find((one) => one.id === id)
    return found && [found.isFine, found.params.count, found.params.names]
  }
  it('names who signs in without a second factor, viewers aside', () =>
    expect(of('factor')).toEqual([false, 1, 'op']))
  it('counts a disabled administrator for nothing', () => expect(of('oneAdmin')).toEqual([false, 1, 'root']))
  it('names tokens that never end', () => expect(of('endless')).toEqual([false, 1, 'ci']))
  it('counts open join tokens', () => expect(of('join')).toEqual([true, 1, '']))
  it('warns of plain http from elsewhere only', () => {
    expect(of('encrypted')).toBeTruthy()
    expect(of('loopback', { ...seen, isEncrypted: false, isLoopback: true })).toEqual([true, 0, ''])
    expect(of('plain', { ...seen, isEncrypted: false })).toEqual([false, 0, ''])
  })
})
