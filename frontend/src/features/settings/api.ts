import { http, type Query } from '@/api/http'
import type {
  ApiToken,
  Channel,
  ChannelPatch,
  Delivery,
  JoinToken,
  Me,
  NewApiToken,
  NewChannel,
  NewJoinToken,
  Page,
  Permission,
  PublisherKey,
  Role,
  SecurityView,
  Session,
  TotpEnrolment,
  TotpStatus,
  User,
  Version,
} from '@/api/types'

/** What a user or a token may do, and on which nodes. */
export interface Access {
  role: Role
  grants: Permission[]
  scope: Record<string, string>
}
export type NewUser = Access & { username: string; password: string }
export type UserPatch = Partial<NewUser & { is_disabled: boolean }>
export type TokenOrder = Access & { name: string; ttl: string | null; idc: string | null }
export interface JoinOrder {
  uses: number
  ttl: string
  labels: Record<string, string>
}
interface RecoveryCodes {
  recovery_codes: string[]
}

export const listUsers = (query: Query): Promise<Page<User>> => http.get('/users', query)
export const createUser = (user: NewUser): Promise<User> => http.post('/users', user)
export const patchUser = (id: string, patch: UserPatch): Promise<User> => http.patch(`/users/${id}`, patch)
export const deleteUser = (id: string): Promise<unknown> => http.delete(`/users/${id}`)
export const resetTotp = (id: string): Promise<unknown> => http.delete(`/users/${id}/totp`)

export const listTokens = (query: Query): Promise<Page<ApiToken>> => http.get('/tokens', query)
export const createToken = (order: TokenOrder): Promise<NewApiToken> => http.post('/tokens', order)
export const deleteToken = (id: string): Promise<unknown> => http.delete(`/tokens/${id}`)

export const listJoinTokens = (query: Query): Promise<Page<JoinToken>> => http.get('/join-tokens', query)
export const createJoinToken = (order: JoinOrder): Promise<NewJoinToken> => http.post('/join-tokens', order)
export const deleteJoinToken = (id: string): Promise<unknown> => http.delete(`/join-tokens/${id}`)

export const listSessions = (query: Query): Promise<Page<Session>> => http.get('/sessions', query)
export const deleteSession = (id: string): Promise<unknown> => http.delete(`/sessions/${id}`)

export const changePassword = (before: string, after: string): Promise<Me> =>
  http.post('/me/password', { old_password: before, new_password: after })
export const getTotp = (): Promise<TotpStatus> => http.get('/me/totp')
export const enrolTotp = (): Promise<TotpEnrolment> => http.post('/me/totp')
export const confirmTotp = (totp: string): Promise<RecoveryCodes> => http.post('/me/totp/confirm', { totp })
export const renewCodes = (): Promise<RecoveryCodes> => http.post('/me/totp/recovery-codes')
export const disableTotp = (): Promise<unknown> => http.delete('/me/totp')

export const listPublishers = (query: Query): Promise<Page<PublisherKey>> =>
  http.get('/publisher-keys', query)
export const addPublisher = (name: string, publicKey: string): Promise<PublisherKey> =>
  http.post('/publisher-keys', { name, public_key: publicKey })
export const removePublisher = (id: string): Promise<unknown> => http.delete(`/publisher-keys/${id}`)

export const listChannels = (query: Query): Promise<Page<Channel>> => http.get('/channels', query)
export const createChannel = (channel: NewChannel): Promise<Channel> => http.post('/channels', channel)
export const patchChannel = (id: string, patch: ChannelPatch): Promise<Channel> =>
  http.patch(`/channels/${id}`, patch)
export const deleteChannel = (id: string): Promise<unknown> => http.delete(`/channels/${id}`)
/** One message now; the answer tells how it went. */
export const testChannel = (id: string): Promise<Delivery> => http.post(`/channels/${id}/test`)
export const listDeliveries = (id: string, query: Query): Promise<Page<Delivery>> =>
  http.get(`/channels/${id}/deliveries`, query)

export const getVersion = (): Promise<Version> => http.get('/version')
export const getSecurity = (): Promise<SecurityView> => http.get('/security')
