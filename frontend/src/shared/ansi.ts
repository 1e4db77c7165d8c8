/** Terminal colours of what programs print as pieces of text; every other escape is dropped. Pure. (ECMA-48, SGR.) */

export interface Piece {
  text: string
  /** CSS classes, e.g. `c1 bold`. */
  style: string
}

const ESCAPES = /\u001b(?:\[([0-9;]*)m|\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g

interface Pen {
  color: string
  isBold: boolean
}

function applyCode(pen: Pen, code: number): Pen {
  if (code === 0) return { color: '', isBold: false }
  if (code === 1) return { ...pen, isBold: true }
  if (code === 22) return { ...pen, isBold: false }
  if (code === 39) return { ...pen, color: '' }
  if (code >= 30 && code <= 37) return { ...pen, color: `c${code - 30}` }
  if (code >= 90 && code <= 97) return { ...pen, color: `c${code - 90}` }
  return pen
}

function applySequence(pen: Pen, parameters: string): Pen {
  const codes = parameters.split(';').map(Number)
  // 38 and 48 carry more numbers (256 or true colours): such a sequence is left out whole.
  if (codes.includes(38) || codes.includes(48)) return pen
  return codes.reduce(applyCode, pen)
}

export function splitColors(line: string): Piece[] {
  const pieces: Piece[] = []
  let pen: Pen = { color: '', isBold: false }
  let from = 0
  const push = (raw: string): void => {
    const text = raw.replace(CONTROLS, '')
    if (text) pieces.push({ text, style: [pen.color, pen.isBold ? 'bold' : ''].filter(Boolean).join(' ') })
  }
  for (const match of line.matchAll(ESCAPES)) {
    push(line.slice(from, match.index))
    if (match[1] !== undefined) pen = applySequence(pen, match[1])
    from = match.index + match[0].length
  }
  push(line.slice(from))
  return pieces
}

/** The line as a person reads it, for search. */
export function plainText(line: string): string {
  return line.replace(ESCAPES, '').replace(CONTROLS, '')
}
