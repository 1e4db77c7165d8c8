/** A crash capsule as plain text, for a ticket or a colleague. Pure. */
import type { Crash } from '@/api/types'
import { plainText } from '@/shared/ansi'

/** Pairs of label and value, then the chain of parents, then the output. */
export function crashText(facts: [string, string][], crash: Crash): string {
  const head = facts.map(([label, value]) => `${label}: ${value}`)
  const lines = crash.lines.map(({ stream, text }) => `${stream} | ${plainText(text)}`)
  return [...head, '', ...lines].join('\n')
}

/** The limits that were set, as `memory 512MB`. */
export function limitsOf(crash: Crash): string[] {
  return Object.entries(crash.limits)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => `${name} ${String(value)}`)
}
