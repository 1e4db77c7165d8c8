/** Which lines of the palette fit what was typed, the best first. Pure. */
import type { Command } from '../feature'

/** Words that join a name to its place: "restart web on n3" means "restart web n3". */
const JOINING = new Set(['on', 'at', 'in', 'of', '@', '在', '上'])
const BREAKS = /[\s/@·._-]/
/** A word in the middle of another counts less than one at a start; one that only the id knows, least. */
const INSIDE = 40
const BY_ID = 120
/** What people chose lately comes first among equals. */
const RECENT = 30

export function wordsOf(typed: string): string[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean)
  const telling = words.filter((word) => !JOINING.has(word))
  return telling.length > 0 ? telling : words
}

function scoreOfWord(text: string, compact: string, id: string, word: string): number | null {
  const at = text.indexOf(word)
  if (at >= 0) return at + (at === 0 || BREAKS.test(text[at - 1] ?? '') ? 0 : INSIDE)
  // Chinese is typed without the spaces that stand in a title; an English verb is known whatever the language.
  if (compact.includes(word)) return INSIDE
  return id.startsWith(word) ? BY_ID : null
}

/** Smaller is better; null does not fit. Every word must occur; an early or whole word counts more. */
export function scoreOf({ title, id }: Pick<Command, 'title' | 'id'>, words: string[]): number | null {
  const text = title.toLowerCase()
  const compact = text.replace(/\s+/g, '')
  let score = 0
  for (const word of words) {
    const one = scoreOfWord(text, compact, id, word)
    if (one === null) return null
    score += one
  }
  return score + text.length / 100
}

/** `recent`: ids that were chosen, the latest first. Without a word typed they lead, in that order. */
export function rank(
  commands: Command[],
  typed: string,
  recent: readonly string[],
  limit: number,
): Command[] {
  const words = wordsOf(typed)
  const lately = new Map(recent.map((id, index) => [id, index]))
  const bonus = (id: string): number => {
    const index = lately.get(id)
    return index === undefined ? 0 : RECENT - index
  }
  return commands
    .flatMap((command) => {
      const score = scoreOf(command, words)
      return score === null ? [] : [{ command, score: (words.length > 0 ? score : 0) - bonus(command.id) }]
    })
    .sort((a, b) => a.score - b.score)
    .slice(0, limit)
    .map(({ command }) => command)
}

/** The chosen one in front, each once, at most `most`. */
export function remember(recent: readonly string[], id: string, most = 12): string[] {
  return [id, ...recent.filter((other) => other !== id)].slice(0, most)
}

/** A title in pieces, those that were typed marked. */
export function pieces(title: string, typed: string): { text: string; isHit: boolean }[] {
  const text = title.toLowerCase()
  const hits = wordsOf(typed)
    .map((word) => [text.indexOf(word), word.length] as const)
    .filter(([at]) => at >= 0)
    .sort(([a], [b]) => a - b)
  const found: { text: string; isHit: boolean }[] = []
  let done = 0
  for (const [at, length] of hits) {
    if (at < done) continue
    found.push(
      { text: title.slice(done, at), isHit: false },
      { text: title.slice(at, at + length), isHit: true },
    )
    done = at + length
  }
  return [...found, { text: title.slice(done), isHit: false }].filter((piece) => piece.text !== '')
}
