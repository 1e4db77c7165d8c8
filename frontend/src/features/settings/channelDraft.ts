/** The form of a channel as text, and what the API takes. Secrets are only written: empty leaves them as they are. Pure. */
import type { Channel, ChannelKind, ChannelPatch, EventKind, NewChannel, NewEmailSettings } from '@/api/types'

export const KINDS = [
  'webhook',
  'email',
  'dingtalk',
  'wecom',
  'feishu',
  'slack',
] as const satisfies ChannelKind[]
export const EVENTS = [
  'instance_failed',
  'node_offline',
  'node_quarantined',
  'alert',
] as const satisfies EventKind[]
export const TLS_PORTS = { starttls: 587, tls: 465 }

export interface ChannelText {
  name: string
  kind: ChannelKind
  language: 'en' | 'zh'
  enabled: boolean
  events: EventKind[]
  url: string
  secret: string
  /** Take the stored secret away. */
  isSecretGone: boolean
  host: string
  port: number
  tls: 'starttls' | 'tls'
  username: string
  password: string
  sender: string
  /** By commas, spaces or lines. */
  recipients: string
}

export type Field = 'name' | 'events' | 'url' | 'secret' | 'host' | 'password' | 'sender' | 'recipients'

const ADDRESS = /^[^\s@<>,;]+@[^\s@<>,;]+$/

/** Does this kind sign its messages? */
export const hasSecret = (kind: ChannelKind): boolean => ['webhook', 'dingtalk', 'feishu'].includes(kind)

export function textOf(channel: Channel | null, language: 'en' | 'zh'): ChannelText {
  const email = channel?.email
  return {
    name: channel?.name ?? '',
    kind: channel?.kind ?? 'webhook',
    language: channel?.language ?? language,
    enabled: channel?.enabled ?? true,
    events: [...(channel?.events ?? EVENTS)],
    url: '',
    secret: '',
    isSecretGone: false,
    host: email?.host ?? '',
    port: email?.port ?? TLS_PORTS.starttls,
    tls: email?.tls ?? 'starttls',
    username: email?.username ?? '',
    password: '',
    sender: email?.sender ?? '',
    recipients: (email?.recipients ?? []).join(', '),
  }
}

const listOf = (text: string): string[] => text.split(/[\s,;]+/).filter(Boolean)

function emailOf(text: ChannelText): NewEmailSettings {
  const { host, port, tls, username, password, sender, recipients } = text
  const plain = { host: host.trim(), port, tls, username: username.trim(), sender: sender.trim() }
  return { ...plain, recipients: listOf(recipients), password: password || null }
}

export function newChannelOf(text: ChannelText): NewChannel {
  const { name, kind, language, enabled, events, url, secret } = text
  const plain = { name: name.trim(), kind, language, enabled, events }
  return kind === 'email'
    ? { ...plain, url: null, secret: null, email: emailOf(text) }
    : { ...plain, url: url.trim(), secret: (hasSecret(kind) && secret) || null, email: null }
}

/** Another server or user name: the old password is not handed to it. */
function isOtherLogin(before: Channel, text: ChannelText): boolean {
  const { host, port, tls, username } = emailOf(text)
  const known = before.email
  return known?.host !== host || known.port !== port || known.tls !== tls || known.username !== username
}

/** Only what differs; of secrets only what was typed. */
export function patchOf(before: Channel, text: ChannelText): ChannelPatch {
  const { language, enabled, events } = text
  const patch: ChannelPatch = {}
  if (text.name.trim() !== before.name) patch.name = text.name.trim()
  if (language !== before.language) patch.language = language
  if (enabled !== before.enabled) patch.enabled = enabled
  if ([...events].sort().join() !== [...before.events].sort().join()) patch.events = events
  if (before.kind === 'email') {
    const { password, ...shown } = emailOf(text)
    const isSame = !isOtherLogin(before, text) && before.email?.sender === shown.sender
    const areSame = isSame && before.email?.recipients.join() === shown.recipients.join()
    if (!areSame || password) patch.email = { ...shown, password }
    return patch
  }
  if (text.url.trim()) patch.url = text.url.trim()
  if (text.isSecretGone) patch.secret = null
  else if (text.secret) patch.secret = text.secret
  return patch
}

/** Fields that are missing or wrong; `before` is the channel that is changed, null for a new one. */
export function wrongFields(before: Channel | null, text: ChannelText): Field[] {
  const url = text.url.trim()
  const isUrlFine = url === '' ? before !== null : /^https?:\/\/./.test(url)
  const needsSecret = text.kind === 'webhook' && before === null
  const byUrl: [Field, boolean][] = [
    ['url', isUrlFine],
    ['secret', text.secret !== '' || !needsSecret],
  ]
  const needsPassword = text.username.trim() !== '' && (before === null || isOtherLogin(before, text))
  const recipients = listOf(text.recipients)
  const byMail: [Field, boolean][] = [
    ['host', /^[\w.:-]+$/.test(text.host.trim())],
    ['password', text.password !== '' || !needsPassword],
    ['sender', ADDRESS.test(text.sender.trim())],
    ['recipients', recipients.length > 0 && recipients.every((one) => ADDRESS.test(one))],
  ]
  const checks: [Field, boolean][] = [
    ['name', text.name.trim() !== ''],
    ['events', text.events.length > 0],
    ...(text.kind === 'email' ? byMail : byUrl),
  ]
  return checks.filter(([, isFine]) => !isFine).map(([field]) => field)
}
