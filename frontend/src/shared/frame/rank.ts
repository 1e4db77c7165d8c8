/** Which lines of the palette fit what was typed, the best first. Pure. */
import type { Command } from '../feature'

/** Smaller is better; null does not fit. Every word must occur; an early or whole word counts more. */
export function scoreOf(title: string, typed: string): number | null {
  const text = title.toLowerCase()
  let score = 0
  for (const word of typed.toLowerCase().split(/\s+/).filter(Boolean)) {
    const at = text.indexOf(word)
    if (at < 0) return null
    const isWordStart = at === 0 || /[\s/@·._-]/.test(text[at - 1] ?? '')
    score += at + (isWordStart ? 0 : 40)
  }
  return score + text.length / 100
}

export function rank(commands: Command[], typed: string, limit: number): Command[] {
  return commands
    .map((command) => ({ command, score: scoreOf(command.title, typed) }))
    .filter((entry): entry is { command: Command; score: number } => entry.score !== null)
    .sort((a, b) => (typed ? a.score - b.score : 0))
    .slice(0, limit)
    .map(({ command }) => command)
}
