import { describe, expect, it } from 'vitest'
import type { AuditRow } from '@/api/types'
import { readAll, spell } from '@/features/audit/exporting'
import { localOf, stampOf } from '@/shared/stamps'

const row = (seq: number, more: Partial<AuditRow> = {}): AuditRow => ({
  seq,
  at: '2026-01-02T03:04:05Z',
  actor_kind: 'user',
  actor_id: 'u1',
  actor_name: 'ann',
  action: 'user.create',
  target: 'user:u2',
  outcome: 'done',
  details: {},
  hash: 'ab',
  ...more,
})

describe('reading for the export', () => {
  const all = Array.from({ length: 1203 }, (_, index) => row(index + 1))
  it('takes every page, oldest first, up to one moment', async () => {
    const asked: Record<string, string | number>[] = []
    const seen: number[] = []
    const rows = await readAll({
      read: async (query) => {
        asked.push(query)
        const offset = Number(query['offset'])
        return { items: all.slice(offset, offset + Number(query['limit'])), total: all.length }
      },
      filters: { actor: 'ann' },
      until: '2026-02-01T00:00:00Z',
      onRows: (done) => seen.push(done),
    })
    expect(rows.map(({ seq }) => seq)).toEqual(all.map(({ seq }) => seq))
    expect(seen).toEqual([500, 1000, 1203])
    expect(asked[2]).toEqual({
      actor: 'ann',
      to: '2026-02-01T00:00:00Z',
      sort: 'seq',
      offset: 1000,
      limit: 500,
    })
  })
  it('keeps an earlier end that was asked for', async () => {
    let to: unknown
    const read = async (
      query: Record<string, string | number>,
    ): Promise<{ items: AuditRow[]; total: number }> => {
      to = query['to']
      return { items: [], total: 0 }
    }
    const filters = { to: '2026-01-01T00:00:00Z' }
    await readAll({ read, filters, until: '2026-02-01T00:00:00Z', onRows: () => undefined })
    expect(to).toBe('2026-01-01T00:00:00Z')
  })
})

describe('the file', () => {
  it('is one JSON object a line', () => {
    const lines = spell([row(1), row(2)], 'jsonl')
      .trimEnd()
      .split('\n')
    expect(lines.map((line) => (JSON.parse(line) as AuditRow).seq)).toEqual([1, 2])
  })
  it('quotes CSV and disarms formulas', () => {
    const text = spell([row(1, { target: '=HYPERLINK("x")', details: { a: 'b,c' } })], 'csv')
    expect(text.split('\r\n')[1]).toBe(
      `1,2026-01-02T03:04:05Z,user,u1,ann,user.create,"'=HYPERLINK(""x"")",done,"{""a"":""b,c""}",ab`,
    )
  })
})

it('keeps a moment over the field for local time', () => {
  expect(stampOf(localOf('2026-01-02T03:04:00.000Z'))).toBe('2026-01-02T03:04:00.000Z')
  expect([stampOf(''), localOf(''), localOf('x')]).toEqual(['', '', ''])
})
