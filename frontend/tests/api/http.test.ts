import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ApiError, http, setCsrfToken, setHooks, urlOf } from '@/api/http'

const requests: { url: string; init: RequestInit }[] = []
let answers: Response[] = []
let signedOut = 0
let stepUp = true

beforeEach(() => {
  requests.length = 0
  signedOut = 0
  vi.stubGlobal('fetch', (url: string, init: RequestInit) => {
    requests.push({ url, init })
    const answer = answers.shift()
    return answer ? Promise.resolve(answer) : Promise.reject(new TypeError('connection refused'))
  })
  setHooks({ onSignedOut: () => (signedOut += 1), onStepUp: () => Promise.resolve(stepUp) })
  setCsrfToken('token-1')
})
afterEach(() => vi.unstubAllGlobals())

const refusal = (status: number, code: string): Response =>
  new Response(JSON.stringify({ code, message: 'no', details: { a: 1 } }), {
    status,
    headers: { 'X-Request-Id': 'r1' },
  })
const fine = (body: object): Response => new Response(JSON.stringify(body), { status: 200 })
const failure = (call: Promise<unknown>): Promise<ApiError> => call.then(() => Promise.reject(new Error('no failure')), (e: ApiError) => e) // prettier-ignore

describe('requests', () => {
  it('leaves out empty query values and escapes the rest', () => {
    expect(urlOf('/nodes', { q: 'a b', sort: '', limit: 5, offset: undefined })).toBe(
      '/api/v1/nodes?q=a%20b&limit=5',
    )
  })

  it('sends the CSRF token and JSON with a change, not with a look', async () => {
    answers = [fine({}), fine({})]
    await http.get('/nodes')
    await http.post('/systems', { name: 'a' })
    expect(requests[0]?.init.headers).not.toHaveProperty('X-CSRF-Token')
    expect(requests[1]?.init.headers).toMatchObject({
      'X-CSRF-Token': 'token-1',
      'Content-Type': 'application/json',
    })
  })

  it('carries code, details and request id of a refusal', async () => {
    answers = [refusal(409, 'conflict')]
    expect(await failure(http.get('/nodes'))).toMatchObject({
      code: 'conflict',
      details: { a: 1 },
      requestId: 'r1',
    })
  })

  it('calls a master that cannot be reached by its name', async () => {
    answers = []
    expect((await failure(http.get('/nodes'))).code).toBe('network')
  })

  it('ends the session on a 401, but not on a wrong password', async () => {
    answers = [refusal(401, 'unauthenticated'), refusal(401, 'unauthenticated')]
    await failure(http.post('/login', {}))
    expect(signedOut).toBe(0)
    await failure(http.get('/nodes'))
    expect(signedOut).toBe(1)
  })

  it('repeats a request once the person proved to be there', async () => {
    stepUp = true
    answers = [refusal(403, 'step_up_required'), fine({ ok: true })]
    expect(await http.post('/act', { a: 1 })).toEqual({ ok: true })
    expect(requests).toHaveLength(2)
  })

  it('lets the refusal stand when the person declined', async () => {
    stepUp = false
    answers = [refusal(403, 'step_up_required')]
    expect((await failure(http.post('/act'))).code).toBe('step_up_required')
  })
})
