/** A table of machines as people paste it, shown as rows before the server judges it. The server reads the same. Pure. */

export interface BulkLine {
  /** Its line in the text, the first being 1: problems name it. */
  number: number
  cells: string[]
}

/** Cells of each line. Quotes may hold separators, doubled quotes and line breaks. Comments and empty lines are left out. */
export function parseLines(text: string): BulkLine[] {
  const separator = separatorOf(text)
  const lines: BulkLine[] = [{ number: 1, cells: [] }]
  let cell = ''
  let isQuoted = false
  let number = 1
  const endCell = (): void => {
    const line = lines.at(-1)
    line?.cells.push(cell.trim())
    if (line) line.number = number
    cell = ''
  }
  for (let place = 0; place < text.length; place += 1) {
    const sign = text[place] ?? ''
    const isBreak = sign === '\n'
    if (isQuoted && sign === '"' && text[place + 1] === '"') {
      cell += '"'
      place += 1
    } else if (sign === '"' && (isQuoted || cell.trim() === '')) isQuoted = !isQuoted
    else if (!isQuoted && sign === separator) endCell()
    else if (!isQuoted && isBreak) {
      endCell()
      lines.push({ number, cells: [] })
    } else if (isQuoted || sign !== '\r') cell += sign
    if (isBreak) number += 1
  }
  endCell()
  return lines.filter(({ cells }) => cells.some((one) => one !== '') && !cells[0]?.startsWith('#'))
}

/** What parts the cells: the sign the heading has most of. */
function separatorOf(text: string): string {
  const head = text.split('\n').find((line) => line.trim() !== '' && !line.startsWith('#')) ?? ''
  const count = (sign: string): number => head.split(sign).length
  return ['\t', ';', ','].reduce((best, sign) => (count(sign) > count(best) ? sign : best))
}

export interface BulkTable {
  columns: string[]
  rows: BulkLine[]
}

/** The heading's names, and the lines below it. */
export function tableOf(text: string): BulkTable {
  const [head, ...rows] = parseLines(text.replace(/^\uFEFF/, ''))
  return { columns: (head?.cells ?? []).map((name) => name.toLowerCase().replaceAll(' ', '_')), rows }
}

export const TEMPLATE = [
  'idc,sn,mac,os_type,os_version,profile,hostname,tags',
  'dc1,SN-0001,00:1a:2b:3c:4d:5e,Debian,12,,web-1,rack=7',
  'dc1,SN-0002,00:1a:2b:3c:4d:5f,Debian,12,,web-2,rack=7',
  '',
].join('\n')
