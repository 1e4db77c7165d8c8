/** A light colouring of config text: comments, placeholders, keys. Pure; the pieces join to the text. */

export interface Piece {
  text: string
  kind: 'plain' | 'comment' | 'placeholder' | 'key'
}

const COMMENTS: Record<string, RegExp> = {
  yaml: /(^|\s)#.*$/,
  toml: /(^|\s)#.*$/,
  ini: /^\s*[#;].*$/,
  properties: /^\s*[#!].*$/,
}
const KEYS: Record<string, RegExp> = {
  yaml: /^\s*(- )?[\w."'-]+(?=:(\s|$))/,
  json: /^\s*"[^"]*"(?=\s*:)/,
  toml: /^\s*(\[.*\]|[\w."-]+(?=\s*=))/,
  ini: /^\s*(\[.*\]|[^=:;#]+(?=[=:]))/,
  properties: /^\s*[^=:\s#!]+(?=\s*[=:])/,
}
const PLACEHOLDER = /(\$\{[^{}]*\}|\$\$)/
const JINJA = /(\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})/

function jinja(line: string): Piece[] {
  return line
    .split(JINJA)
    .filter((part) => part !== '')
    .map((part) => ({
      text: part,
      kind: part.startsWith('{#') ? 'comment' : JINJA.test(part) ? 'placeholder' : 'plain',
    }))
}

function placeholders(text: string, kind: Piece['kind']): Piece[] {
  return text
    .split(PLACEHOLDER)
    .filter((part) => part !== '')
    .map((part) => ({ text: part, kind: part.startsWith('${') ? 'placeholder' : kind }))
}

export function colourLine(line: string, format: string): Piece[] {
  if (format === 'jinja') return jinja(line)
  const comment = COMMENTS[format]?.exec(line)
  const code = comment ? line.slice(0, comment.index) : line
  const key = KEYS[format]?.exec(code)?.[0] ?? ''
  return [
    ...placeholders(key, 'key'),
    ...placeholders(code.slice(key.length), 'plain'),
    ...(comment ? [{ text: line.slice(comment.index), kind: 'comment' as const }] : []),
  ]
}

/** `line 3, column 9: …` of the server's problems. */
export function placeOf(message: string): { line: number; column: number } | null {
  const found = /line (\d+)(?:, column (\d+))?/.exec(message)
  return found ? { line: Number(found[1]), column: Number(found[2] ?? 1) } : null
}
