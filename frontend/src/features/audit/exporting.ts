/** The audit log as a file: read page by page, oldest first, as JSON lines or CSV. Pure but for the reader given. */
import type { AuditRow, Page } from '@/api/types'

export type Format = 'jsonl' | 'csv'

const PAGE = 500
/** A browser holds the file in memory; more than this is a job for the API. */
export const MOST_ROWS = 100_000

export interface Wanted {
  read: (query: Record<string, string | number>) => Promise<Page<AuditRow>>
  filters: Record<string, string>
  /** Rows after this moment are left out, so that pages do not move while they are read. */
  until: string
  onRows: (done: number, total: number) => void
}

/** Every row that matches, at most MOST_ROWS. */
export async function readAll({ read, filters, until, onRows }: Wanted): Promise<AuditRow[]> {
  const to = filters['to'] && Date.parse(filters['to']) < Date.parse(until) ? filters['to'] : until
  const rows: AuditRow[] = []
  for (;;) {
    const page = await read({ ...filters, to, sort: 'seq', offset: rows.length, limit: PAGE })
    rows.push(...page.items)
    onRows(rows.length, Math.min(page.total, MOST_ROWS))
    if (page.items.length < PAGE || rows.length >= page.total || rows.length >= MOST_ROWS) return rows
  }
}

const COLUMNS = [
  'seq',
  'at',
  'actor_kind',
  'actor_id',
  'actor_name',
  'action',
  'target',
  'outcome',
  'details',
  'hash',
] as const

/** RFC 4180; a cell a spreadsheet would run as a formula gets an apostrophe before it. */
function cellOf(value: unknown): string {
  const plain = typeof value === 'object' ? JSON.stringify(value) : String(value)
  const safe = typeof value === 'string' && /^[=+\-@\t\r]/.test(plain) ? `'${plain}` : plain
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

export function spell(rows: AuditRow[], format: Format): string {
  if (format === 'jsonl') return rows.map((row) => `${JSON.stringify(row)}\n`).join('')
  const lines = rows.map((row) => COLUMNS.map((column) => cellOf(row[column])).join(','))
  return [COLUMNS.join(','), ...lines].map((line) => `${line}\r\n`).join('')
}
