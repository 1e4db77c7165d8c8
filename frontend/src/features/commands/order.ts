/** The form of a command as text, what the API takes, and which nodes it strikes. Pure. */
import type { Command, Node } from '@/api/types'
import { compareText } from '@/shared/collate'
import { parseLabels } from '@/shared/format'

export interface CommandText {
  /** A line for the node's shell, or words that are executed as they are. */
  mode: 'line' | 'words'
  line: string
  /** One word a line, the program first. */
  words: string
  /** Empty: the worker's own. */
  user: string
  timeoutS: number
}

export const LONGEST_S = 3600
export const NEW_COMMAND: CommandText = { mode: 'line', line: '', words: '', user: '', timeoutS: 60 }

export function commandOf(text: CommandText): Command {
  const words = text.words.split('\n')
  while (words.length > 0 && words.at(-1) === '') words.pop()
  const isLine = text.mode === 'line'
  return {
    argv: isLine ? [] : words,
    command: isLine ? text.line.trim() : '',
    user: text.user.trim(),
    timeout_s: text.timeoutS,
  }
}

export function textOf(command: Command): CommandText {
  return {
    mode: command.argv.length > 0 ? 'words' : 'line',
    line: command.command,
    words: command.argv.join('\n'),
    user: command.user,
    timeoutS: command.timeout_s,
  }
}

export const isComplete = (command: Command): boolean => command.command !== '' || Boolean(command.argv[0])

/** The command in one line, words with spaces in quotes. */
export function spellCommand({ command, argv }: Pick<Command, 'command' | 'argv'>): string {
  return (
    command || argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word))).join(' ')
  )
}

export interface Choice {
  by: 'nodes' | 'labels'
  ids: string[]
  labels: string
}

/** Can a worker there be asked at all, now or later? */
export const isAskable = ({ status, revoked }: Node): boolean => status !== 'planned' && !revoked

/** The nodes a choice means, by name. Labels that are empty or not understood mean none. */
export function struckBy(choice: Choice, nodes: Iterable<Node>): Node[] {
  const labels = Object.entries(parseLabels(choice.labels) ?? {})
  const isMeant = (node: Node): boolean =>
    choice.by === 'nodes'
      ? choice.ids.includes(node.id)
      : labels.length > 0 && labels.every(([key, value]) => node.labels[key] === value)
  return [...nodes]
    .filter((node) => isAskable(node) && isMeant(node))
    .sort((a, b) => compareText(a.name, b.name))
}
