/** An argument list as a person types it: words with blanks or quotes stand in single quotes (POSIX shell). Pure. */
export function spellCommand(words: readonly string[]): string {
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(' ')
}
