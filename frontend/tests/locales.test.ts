import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import en from '@/locales/en'
import zh from '@/locales/zh'

const SOURCES = join(import.meta.dirname, '../src')

function listFiles(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    return statSync(path).isDirectory() ? listFiles(path) : [path]
  })
}

function flatten(tree: object, prefix = ''): Map<string, string> {
  const found = new Map<string, string>()
  for (const [key, value] of Object.entries(tree)) {
    const path = prefix + key
    if (typeof value === 'string') found.set(path, value)
    else for (const entry of flatten(value as object, `${path}.`)) found.set(...entry)
  }
  return found
}

const text = listFiles(SOURCES)
  .filter((path) => /\.(vue|ts)$/.test(path) && !path.includes('/locales/') && !path.endsWith('.d.ts'))
  .map((path) => readFileSync(path, 'utf8'))
  .join('\n')

/** `t('a.b')` and `orElse('a.b'` as they stand; `t(\`a.${x}\`)` as the prefix `a.`. */
const literal = [...text.matchAll(/\b(?:t|te|orElse)\(\s*'([\w.]+)'/g)].map((match) => match[1] ?? '')
const prefixes = [...text.matchAll(/\b(?:t|te|orElse)\(\s*`([\w.]+\.)(\w*)\$\{/g)].map(
  (m) => (m[1] ?? '') + (m[2] ?? ''),
)

const english = flatten(en)
const chinese = flatten(zh)
const placeholders = (sentence: string): string[] =>
  [...sentence.matchAll(/\{(\w+)\}/g)].map((m) => m[1] ?? '').sort()

describe('languages', () => {
  it('finds the keys in the sources at all', () => {
    expect(literal.length).toBeGreaterThan(150)
    expect(prefixes.length).toBeGreaterThan(10)
  })

  it('has every key in both languages', () => {
    expect([...chinese.keys()].sort()).toEqual([...english.keys()].sort())
  })

  it('misses no key the sources name', () => {
    expect(literal.filter((key) => !english.has(key))).toEqual([])
    expect(prefixes.filter((prefix) => ![...english.keys()].some((key) => key.startsWith(prefix)))).toEqual(
      [],
    )
  })

  it('has no key nobody uses', () => {
    const used = new Set(literal)
    const isUsed = (key: string): boolean =>
      used.has(key) || prefixes.some((prefix) => key.startsWith(prefix))
    expect([...english.keys()].filter((key) => !isUsed(key))).toEqual([])
  })

  it('fills the same parameters in both languages', () => {
    for (const [key, sentence] of english) {
      expect(placeholders(chinese.get(key) ?? ''), key).toEqual(placeholders(sentence))
    }
  })

  it('writes nothing that vue-i18n reads as syntax', () => {
    for (const sentence of [...english.values(), ...chinese.values()]) expect(sentence).not.toMatch(/[@|]/)
  })
})
