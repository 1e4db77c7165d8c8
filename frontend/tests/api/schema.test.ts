import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { makeTypes, TARGET } from '../../build/types.js'

it('has the types of the server as it is (else: npm run types)', async () => {
  expect(readFileSync(TARGET, 'utf8')).toBe(await makeTypes())
})
