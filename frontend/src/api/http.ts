/** One request to the master: CSRF, errors as ApiError, step-up and lost sessions. The only user of fetch and XHR. */

export type Details = Record<string, unknown>

/** A refusal by the server, or `network` when it could not be reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: Details = {},
    readonly requestId = '',
  ) {
    super(message)
    this.name = 'ApiError'
  }
}

/** Who is asked when a request needs a person: wired by the composition root. */
export interface Hooks {
  /** The session is gone. */
  onSignedOut: () => void
  /** Ask for the password again; true when the server accepted it. */
  onStepUp: () => Promise<boolean>
}

const BASE = '/api/v1'
let csrfToken = ''
let hooks: Hooks = { onSignedOut: () => undefined, onStepUp: async () => false }

export function setCsrfToken(token: string): void {
  csrfToken = token
}

export function setHooks(next: Hooks): void {
  hooks = next
}

export type Query = Record<string, string | number | boolean | undefined | null>

/** `path` below /api/v1 with the query values that are set. */
export function urlOf(path: string, query: Query = {}): string {
  const pairs = Object.entries(query)
    .filter(([, value]) => value !== undefined && value !== null && value !== '')
    .map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(String(value))}`)
  return BASE + path + (pairs.length > 0 ? `?${pairs.join('&')}` : '')
}

/** The WebSocket address of `path`. */
export function socketUrlOf(path: string, query: Query = {}): string {
  return location.origin.replace(/^http/, 'ws') + urlOf(path, query)
}

function readError(status: number, text: string, requestId: string): ApiError {
  try {
    const body = JSON.parse(text) as { code?: string; message?: string; details?: Details }
    return new ApiError(status, body.code ?? 'internal', body.message ?? text, body.details ?? {}, requestId)
  } catch {
    return new ApiError(status, 'internal', text.slice(0, 200) || `HTTP ${status}`, {}, requestId)
  }
}

async function send(method: string, url: string, body: unknown): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json' }
  if (method !== 'GET') headers['X-CSRF-Token'] = csrfToken
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  try {
    return await fetch(url, {
      method,
      headers,
      credentials: 'same-origin',
      body: body === undefined ? null : JSON.stringify(body),
    })
  } catch (cause) {
    throw new ApiError(0, 'network', cause instanceof Error ? cause.message : String(cause))
  }
}

async function request<T>(method: string, url: string, body?: unknown): Promise<T> {
  const text = await requestText(method, url, body)
  return (text ? JSON.parse(text) : {}) as T
}

async function requestText(method: string, url: string, body?: unknown): Promise<string> {
  const response = await send(method, url, body)
  const text = await response.text()
  if (response.ok) return text
  const error = readError(response.status, text, response.headers.get('X-Request-Id') ?? '')
  if (error.code === 'step_up_required' && (await hooks.onStepUp())) return requestText(method, url, body)
  if (error.status === 401 && !isAnonymous(url)) hooks.onSignedOut()
  throw error
}

/** Ask for a file's first byte: whatever proof a download wants is asked for before the browser goes there. */
async function touch(path: string): Promise<void> {
  const headers = { Range: 'bytes=0-0' }
  const response = await fetch(urlOf(path), { headers, credentials: 'same-origin' }).catch(
    (cause: unknown) => {
      throw new ApiError(0, 'network', cause instanceof Error ? cause.message : String(cause))
    },
  )
  if (response.ok) return void response.body?.cancel()
  const error = readError(response.status, await response.text(), response.headers.get('X-Request-Id') ?? '')
  if (error.code === 'step_up_required' && (await hooks.onStepUp())) return touch(path)
  if (error.status === 401) hooks.onSignedOut()
  throw error
}

/** Calls whose 401 is an answer and not the end of a session. */
function isAnonymous(url: string): boolean {
  return ['/login', '/setup', '/me', '/me/password', '/step-up'].some((path) => url === BASE + path)
}

export const http = {
  get: <T>(path: string, query?: Query) => request<T>('GET', urlOf(path, query)),
  touch,
  /** A file as it is. */
  text: (path: string, query?: Query) => requestText('GET', urlOf(path, query)),
  post: <T>(path: string, body?: unknown, query?: Query) => request<T>('POST', urlOf(path, query), body),
  put: <T>(path: string, body: unknown) => request<T>('PUT', urlOf(path), body),
  patch: <T>(path: string, body: unknown) => request<T>('PATCH', urlOf(path), body),
  delete: <T>(path: string, query?: Query) => request<T>('DELETE', urlOf(path, query)),
}

export interface Upload<T> {
  done: Promise<T>
  cancel: () => void
}

/** PUT bytes as the raw body; `onBytes` hears how many of them have left. fetch cannot tell, XHR can. */
export function putBytes<T>(
  path: string,
  query: Query,
  bytes: Blob,
  type: string,
  onBytes: (sent: number) => void,
): Upload<T> {
  const xhr = new XMLHttpRequest()
  const done = new Promise<T>((resolve, reject) => {
    xhr.open('PUT', urlOf(path, query))
    xhr.setRequestHeader('Content-Type', type)
    xhr.setRequestHeader('X-CSRF-Token', csrfToken)
    xhr.upload.onprogress = (event) => onBytes(event.loaded)
    xhr.onerror = () => reject(new ApiError(0, 'network', 'the connection broke while sending'))
    xhr.onabort = () => reject(new ApiError(0, 'cancelled', 'the upload was cancelled'))
    xhr.onload = () => {
      if (xhr.status < 300) return resolve(JSON.parse(xhr.responseText) as T)
      if (xhr.status === 401) hooks.onSignedOut()
      reject(readError(xhr.status, xhr.responseText, xhr.getResponseHeader('X-Request-Id') ?? ''))
    }
    xhr.send(bytes)
  })
  return { done, cancel: () => xhr.abort() }
}
