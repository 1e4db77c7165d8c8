import { describe, expect, it } from 'vitest'
import { colourLine, placeOf } from '@/shared/configuration/highlight'

const kinds = (line: string, format: string): string[] =>
  colourLine(line, format).map(({ text, kind }) => `${kind}:${text}`)

describe('the colours of config text', () => {
  it('knows what a template of an installer fills in, and what it does not say', () => {
    expect(kinds('host {{ hostname }} {% if x %}{# why #}', 'jinja')).toEqual([
      'plain:host ',
      'placeholder:{{ hostname }}',
      'plain: ',
      'placeholder:{% if x %}',
      'comment:{# why #}',
    ])
  })
  it('knows keys, placeholders and comments', () => {
    expect(kinds('port: ${port.http} # why', 'yaml')).toEqual([
      'key:port',
      'plain:: ',
      'placeholder:${port.http}',
      'comment: # why',
    ])
    expect(kinds('"a": 1', 'json')).toEqual(['key:"a"', 'plain:: 1'])
    expect(kinds('[part]', 'ini')).toEqual(['key:[part]'])
  })
  it('never changes the text', () => {
    for (const format of ['yaml', 'json', 'toml', 'ini', 'properties', 'text'])
      for (const line of ['', '  - a: "#x" # y', '${open', '$$ ${a}${b}', '=x', '; c', '! d', '\ta = b'])
        expect(
          colourLine(line, format)
            .map(({ text }) => text)
            .join(''),
          format,
        ).toBe(line)
  })
  it('finds the place in a problem', () => {
    expect(placeOf('$.content: line 3, column 9: no valid YAML')).toEqual({ line: 3, column: 9 })
    expect(placeOf('nothing')).toBeNull()
  })
})
