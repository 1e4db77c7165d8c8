import { describe, expect, it } from 'vitest'
import type { Channel } from '@/api/types'
import { newChannelOf, patchOf, textOf, wrongFields } from '@/features/settings/channelDraft'

const hook = {
  id: 'chn_1',
  name: 'ops',
  kind: 'webhook',
  language: 'en',
  enabled: true,
  events: ['instance_failed', 'node_offline', 'node_quarantined'],
  email: null,
  has_secret: true,
} as unknown as Channel
const settings = { host: 'mx', port: 587, tls: 'starttls', username: 'ops', sender: 'o@x.y' }
const mail = { ...hook, kind: 'email', email: { ...settings, recipients: ['a@x.y', 'b@x.y'] } } as Channel

describe('a new channel', () => {
  it('of an address has no mail settings, and a secret only where its kind signs', () => {
    const text = { ...textOf(null, 'zh'), name: ' ops ', url: ' https://h/x ', secret: 's' }
    const made = newChannelOf(text)
    expect(made).toMatchObject({ name: 'ops', url: 'https://h/x', secret: 's', email: null, language: 'zh' })
    expect(newChannelOf({ ...text, kind: 'slack' }).secret).toBe(null)
  })
  it('of mail has settings and nothing else', () => {
    const text = { ...textOf(mail, 'en'), url: 'https://left', secret: 'left', password: 'pw' }
    expect(newChannelOf(text)).toMatchObject({
      url: null,
      secret: null,
      email: { ...settings, recipients: ['a@x.y', 'b@x.y'], password: 'pw' },
    })
  })
  it('says what is missing', () => {
    expect(wrongFields(null, textOf(null, 'en'))).toEqual(['name', 'url', 'secret'])
    const email = { ...textOf(null, 'en'), kind: 'email' as const, username: 'u', recipients: 'a@x, b' }
    expect(wrongFields(null, email)).toEqual(['name', 'host', 'password', 'sender', 'recipients'])
    const fine = { ...textOf(null, 'en'), kind: 'wecom' as const, name: 'x', url: 'http://h', events: [] }
    expect(wrongFields(null, fine)).toEqual(['events'])
  })
})

describe('a change of a channel', () => {
  it('writes nothing where nothing changed, and no secret that was not typed', () => {
    expect(patchOf(hook, textOf(hook, 'zh'))).toEqual({})
    expect(patchOf(mail, textOf(mail, 'zh'))).toEqual({})
    expect(wrongFields(hook, textOf(hook, 'en'))).toEqual([])
    expect(wrongFields(mail, textOf(mail, 'en'))).toEqual([])
  })
  it('writes what was typed', () => {
    const text = {
      ...textOf(hook, 'en'),
      enabled: false,
      events: ['node_offline' as const],
      url: 'https://n',
    }
    expect(patchOf(hook, text)).toEqual({ enabled: false, events: ['node_offline'], url: 'https://n' })
    expect(patchOf(hook, { ...textOf(hook, 'en'), secret: 'new' })).toEqual({ secret: 'new' })
    expect(patchOf(hook, { ...textOf(hook, 'en'), isSecretGone: true })).toEqual({ secret: null })
  })
  it('sends the mail settings whole, without the password that stays', () => {
    const text = { ...textOf(mail, 'en'), recipients: 'c@x.y' }
    expect(patchOf(mail, text)).toEqual({ email: { ...settings, recipients: ['c@x.y'], password: null } })
  })
  it('wants the password again for another server', () => {
    const text = { ...textOf(mail, 'en'), host: 'other' }
    expect(wrongFields(mail, text)).toEqual(['password'])
    expect(wrongFields(mail, { ...text, password: 'pw' })).toEqual([])
  })
})
