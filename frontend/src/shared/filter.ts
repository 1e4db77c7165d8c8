/** The filter language of tables: `status:offline cpu>80 label:zone=a web`. Pure. */

export type Term =
  | { kind: 'word'; text: string }
  | { kind: 'field'; field: string; text: string }
  | { kind: 'compare'; field: string; operator: '>' | '<' | '>=' | '<='; value: number }

/** What a table lets people ask of one row. */
export interface Reader<T> {
  /** Text searched by plain words. */
  words: (row: T) => string
  /** Text fields by name: `status:online`. Several texts mean any of them. */
  fields: Record<string, (row: T) => string | string[]>
  /** Numbers by name: `cpu>80`. */
  numbers: Record<string, (row: T) => number | null | undefined>
}

const COMPARE = /^([a-z_]+)(>=|<=|>|<)(-?\d+(?:\.\d+)?)$/i
const FIELD = /^([a-z_]+):(.*)$/i

/** Words in quotes stay together. */
export function parseFilter(text: string): Term[] {
  const pieces = text.match(/(?:[^\s"]|"[^"]*")+/g) ?? []
  return pieces.map((raw) => {
    const piece = raw.replaceAll('"', '')
    const compare = COMPARE.exec(piece)
    if (compare) {
      const operator = compare[2] as '>' | '<' | '>=' | '<='
      return { kind: 'compare', field: (compare[1] ?? '').toLowerCase(), operator, value: Number(compare[3]) }
    }
    const field = FIELD.exec(piece)
    if (field)
      return { kind: 'field', field: (field[1] ?? '').toLowerCase(), text: (field[2] ?? '').toLowerCase() }
    return { kind: 'word', text: piece.toLowerCase() }
  })
}

function compareNumber(value: number | null | undefined, operator: string, limit: number): boolean {
  if (value === null || value === undefined) return false
  if (operator === '>') return value > limit
  if (operator === '<') return value < limit
  return operator === '>=' ? value >= limit : value <= limit
}

function matchesTerm<T>(row: T, term: Term, reader: Reader<T>): boolean {
  if (term.kind === 'word') return reader.words(row).toLowerCase().includes(term.text)
  if (term.kind === 'compare') {
    return compareNumber(reader.numbers[term.field]?.(row), term.operator, term.value)
  }
  const read = reader.fields[term.field]
  if (!read) return reader.words(row).toLowerCase().includes(`${term.field}:${term.text}`)
  const texts = [read(row)].flat().map((text) => text.toLowerCase())
  return term.text.split(',').some((wanted) => texts.some((text) => text.includes(wanted)))
}

/** True when the row meets every term. */
export function matches<T>(row: T, terms: Term[], reader: Reader<T>): boolean {
  return terms.every((term) => matchesTerm(row, term, reader))
}

/** Completions of the last piece of `text`: field names, then the values seen for a named field. */
export function complete<T>(text: string, rows: Iterable<T>, reader: Reader<T>, limit = 8): string[] {
  const head = text.slice(0, text.length - lastPiece(text).length)
  return completePiece(lastPiece(text), rows, reader)
    .slice(0, limit)
    .map((piece) => head + piece)
}

function lastPiece(text: string): string {
  return /(\S*)$/.exec(text)?.[1] ?? ''
}

function completePiece<T>(piece: string, rows: Iterable<T>, reader: Reader<T>): string[] {
  const [field, typed] = piece.split(/:(.*)/s) as [string, string | undefined]
  if (typed === undefined) {
    const names = [
      ...Object.keys(reader.fields).map((n) => `${n}:`),
      ...Object.keys(reader.numbers).map((n) => `${n}>`),
    ]
    return names.filter((name) => name.startsWith(piece.toLowerCase()) && name !== piece)
  }
  const read = reader.fields[field.toLowerCase()]
  if (!read) return []
  const seen = new Set<string>()
  for (const row of rows) for (const value of [read(row)].flat()) if (value) seen.add(value)
  return [...seen]
    .filter((value) => value.toLowerCase().startsWith(typed.toLowerCase()) && value !== typed)
    .sort()
    .map((value) => `${field}:${/\s/.test(value) ? `"${value}"` : value}`)
}
