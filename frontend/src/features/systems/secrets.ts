/** Secret environment values as the form writes them: names are shown, values only written. Pure. */

export interface SecretText {
  name: string
  /** Typed now; empty leaves a stored value as it is. */
  value: string
  isStored: boolean
  /** Take the stored value away. */
  isGone: boolean
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
export const NEW_SECRET: SecretText = { name: '', value: '', isStored: false, isGone: false }

export function secretTextsOf(names: string[]): SecretText[] {
  return names.map((name) => ({ name, value: '', isStored: true, isGone: false }))
}

/** What to set (a value) and to take away (null); stored values that nobody touched are left out. */
export function secretsOf(texts: SecretText[]): Record<string, string | null> {
  const touched = texts.filter(({ value, isGone }) => isGone || value !== '')
  return Object.fromEntries(touched.map(({ name, value, isGone }) => [name.trim(), isGone ? null : value]))
}

/** Each name once and usable, and a value for those that have none yet; what is written is not among the plain ones. */
export function areSecretsFine(texts: SecretText[], plain: string[]): boolean {
  const names = texts.map(({ name }) => name.trim())
  const kept = texts.filter(({ isGone }) => !isGone)
  return (
    new Set(names).size === names.length &&
    names.every((name) => NAME.test(name) && name !== 'OPS_INSTANCE') &&
    kept.every(({ value, isStored }) => isStored || value !== '') &&
    kept.every(({ name, value, isStored }) => (isStored && value === '') || !plain.includes(name.trim()))
  )
}
