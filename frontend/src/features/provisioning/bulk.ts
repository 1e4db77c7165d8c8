/** A table of machines as text (RFC 4180): cells, and rows under their column names. Pure. */

/** Cells of each line. Quotes may hold commas, quotes (doubled) and line breaks; tabs and semicolons part cells too. */
export function parseCells(text: string): string[][] {
  const separator = separatorOf(text)
  const lines: string[][] = [[]]
  let cell = ''
  let isQuoted = false
  const endCell = (): void => {
    lines.at(-1)?.push(cell.trim())
    cell = ''
  }
  for (let place = 0; place < text.length; place += 1) {
    const sign = text[place] ?? ''
    if (isQuoted && sign === '"' && text[place + 1] === '"') {
      cell += '"'
      place += 1
    } else if (sign === '"' && (isQuoted || cell.trim() === '')) isQuoted = !isQuoted
    else if (!isQuoted && sign === separator) endCell()
    else if (!isQuoted && sign === '\n') {
      endCell()
      lines.push([])
    } else if (isQuoted || sign !== '\r') cell += sign
  }
  endCell()
  return lines.filter((line) => line.some((one) => one !== ''))
}

/** What parts the cells of the first line: a tab or a semicolon where there is no comma. */
function separatorOf(text: string): string {
  const head = text.split('\n', 1)[0] ?? ''
  return [',', '\t', ';'].find((sign) => head.includes(sign)) ?? ','
}

export interface BulkTable {
  columns: string[]
  rows: Record<string, string>[]
}

/** The rows by the names of the first line, small letters; a column without a name is left out. */
export function tableOf(text: string): BulkTable {
  const [head, ...lines] = parseCells(text.replace(/^\uFEFF/, ''))
  const columns = (head ?? []).map((name) => name.toLowerCase().replaceAll(' ', '_'))
  const rows = lines.map((line) =>
    Object.fromEntries(
      columns.map((name, place) => [name, line[place] ?? ''] as const).filter(([name]) => name !== ''),
    ),
  )
  return { columns: columns.filter(Boolean), rows }
}

export const TEMPLATE = [
  'idc,sn,mac,os_type,os_version,profile,hostname,tags',
  'dc1,SN-0001,00:1a:2b:3c:4d:5e,Debian,12,,web-1,rack=7',
  'dc1,SN-0002,00:1a:2b:3c:4d:5f,Debian,12,,web-2,rack=7',
  '',
].join('\n')
