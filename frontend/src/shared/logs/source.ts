/** Where the lines of a log view come from: one log of an instance, or that of all instances of a module or system. */
import { http, socketUrlOf, urlOf } from '@/api/http'
import type { components } from '@/api/schema'

type Schemas = components['schemas']

export interface Line {
  /** Bytes since the first one ever written. */
  offset: number
  at: string | null
  text: string
  instance: string
  /** More than 0: no line but a mark, so many are left out here; -1: nobody knows how many. */
  dropped: number
}

export interface LinePage {
  lines: Line[]
  /** Where to go on, null at an end of the log. */
  before: string | null
  after: string | null
  /** The line a time led to; null: the log carries no times. */
  found: number | null
  /** Instances whose log could not be read. */
  unread: { instance_id: string; code: string; message: string }[]
}

export interface PageQuery {
  tail: number
  before?: string
  after?: string
  around?: number
  at?: string
}

export interface SearchQuery {
  q: string
  regex: boolean
  nocase: boolean
  since: string
  until: string
}

export type Hits = Schemas['LogHits']

export interface LogSource {
  read: (query: PageQuery) => Promise<LinePage>
  followUrl: string
  /** Absent: several logs, which have no common offsets. */
  search?: (query: SearchQuery, start: number | null) => Promise<Hits>
  downloadUrl?: string
}

export type MergedHits = Schemas['MergedHits']

/** The hits of all instances of a module or system, a page after the other. */
export const searchMerged = (
  what: 'modules' | 'systems',
  id: string,
  name: string,
  { regex, nocase, ...query }: SearchQuery,
  start: string,
): Promise<MergedHits> =>
  http.get(`/${what}/${id}/logs/${encodeURIComponent(name)}/search`, {
    ...query,
    regex: regex ? 1 : null,
    nocase: nocase ? 1 : null,
    start,
  })

const textOf = (offset: number | null | undefined): string | null =>
  offset === null || offset === undefined ? null : String(offset)

/** One log of one instance. */
export function instanceLog(id: string, name: string): LogSource {
  const path = `/instances/${id}/logs/${encodeURIComponent(name)}`
  return {
    async read(query) {
      const page = await http.get<Schemas['LogLines']>(path, { ...query })
      const lines = page.lines.map(({ offset, at, text }) => ({ offset, at, text, instance: id, dropped: 0 }))
      const before = textOf(page.before)
      return { lines, before, after: textOf(page.after), found: page.at_offset ?? null, unread: [] }
    },
    followUrl: socketUrlOf(`${path}/follow`),
    search: ({ regex, nocase, ...query }, start) =>
      http.get(`${path}/search`, { ...query, regex: regex ? 1 : null, nocase: nocase ? 1 : null, start }),
    downloadUrl: urlOf(`${path}/download`),
  }
}

/** The same log of all instances, by time. */
export function mergedLog(what: 'modules' | 'systems', id: string, name: string): LogSource {
  const path = `/${what}/${id}/logs/${encodeURIComponent(name)}`
  return {
    async read({ tail, before }) {
      const page = await http.get<Schemas['MergedLines']>(path, { tail, before })
      const lines = page.lines.map(({ offset, at, text, instance_id }) => {
        return { offset, at, text, instance: instance_id, dropped: 0 }
      })
      return { lines, before: page.before, after: null, found: null, unread: page.unread }
    },
    followUrl: socketUrlOf(`${path}/follow`),
  }
}

interface Told {
  lines?: { at?: string | null; text: string; offset: number }[]
  instance_id?: string
  dropped?: number
  end?: { code: string; message: string }
}

export interface Frame {
  lines: Line[]
  instance: string
  end: { code: string; message: string } | null
}

/** What a text frame of a followed log says. */
export function readFrame(text: string): Frame {
  const told = JSON.parse(text) as Told
  const instance = told.instance_id ?? ''
  const lines = (told.lines ?? []).map(({ at, text: words, offset }): Line => {
    return { offset, at: at ?? null, text: words, instance, dropped: 0 }
  })
  if (told.dropped !== undefined)
    lines.push({ offset: -1, at: null, text: '', instance, dropped: told.dropped || -1 })
  return { lines, instance, end: told.end ?? null }
}
