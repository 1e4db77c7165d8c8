import { describe, expect, it } from 'vitest'
import { complete, matches, parseFilter, type Reader } from '@/shared/filter'

interface Row {
  name: string
  status: string
  labels: string[]
  cpu: number | null
}
const reader: Reader<Row> = {
  words: ({ name }) => name,
  fields: { status: ({ status }) => status, label: ({ labels }) => labels },
  numbers: { cpu: ({ cpu }) => cpu },
}
const web: Row = { name: 'Web-1', status: 'online', labels: ['zone=a', 'rack=r 1'], cpu: 91 }
const idle: Row = { name: 'db-1', status: 'offline', labels: [], cpu: null }
const found = (text: string): string[] =>
  [web, idle].filter((row) => matches(row, parseFilter(text), reader)).map(({ name }) => name)

describe('the filter language', () => {
  it.each([
    ['', ['Web-1', 'db-1']],
    ['WEB', ['Web-1']],
    ['status:off', ['db-1']],
    ['status:online,offline', ['Web-1', 'db-1']],
    ['label:zone=a cpu>80', ['Web-1']],
    ['cpu>=91', ['Web-1']],
    ['cpu<5', []],
    ['label:"rack=r 1"', ['Web-1']],
    ['unknown:x', []],
  ])('%j finds %j', (text, names) => expect(found(text)).toEqual(names))

  it('takes a row without a value for neither more nor less', () => {
    expect(found('cpu>0')).toEqual(['Web-1'])
    expect(found('cpu<101')).toEqual(['Web-1'])
  })
})

describe('completion', () => {
  const offers = (text: string): string[] => complete(text, [web, idle], reader)
  it('offers field names', () => expect(offers('web st')).toEqual(['web status:']))
  it('offers the values that are there', () =>
    expect(offers('status:')).toEqual(['status:offline', 'status:online']))
  it('quotes a value with a space', () => expect(offers('label:ra')).toEqual(['label:"rack=r 1"']))
  it('offers nothing for what is complete', () => expect(offers('status:online')).toEqual([]))
})
