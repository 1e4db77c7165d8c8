/** The order of versions, as the master has it: 1.0-rc1 before 1.0 before 1.0.1 before 1.10. */
import { compareText } from './collate'

/** Text that sorts as the version does: numbers as numbers, a word (rc, beta) before the end, the end before a number. */
export function versionKey(version: string): string {
  const tokens = version.match(/[0-9]+|[A-Za-z]+/g) ?? []
  const keys = tokens.map((token) => {
    if (!/^[0-9]/.test(token)) return `0${token.toLowerCase()}`
    const digits = token.replace(/^0+/, '')
    return `2${String(digits.length).padStart(2, '0')}${digits}`
  })
  return [...keys, '1'].join(',')
}

export const compareVersion = (a: string, b: string): number => compareText(versionKey(a), versionKey(b))
