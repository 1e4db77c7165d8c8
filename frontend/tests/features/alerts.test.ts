import { describe, expect, it } from 'vitest'
import { ApiError } from '@/api/http'
import type { Alert, AlertRule, BacktestSubject, Channel, Instance, Operation, Silence } from '@/api/types'
import { spanOf } from '@/features/alerts/chartSpan'
import { levelsOf } from '@/features/alerts/levelLines'
import { fitsNow } from '@/features/alerts/matching'
import { channelsOf } from '@/features/alerts/messages'
import { marksOf, placeOf } from '@/features/alerts/periods'
import { lastEvents, systemStates } from '@/features/overview/events'
import { complaintsOf, KINDS, ofKind, ruleOf, textOf, wrongFields } from '@/features/alerts/ruleDraft'
import * as silences from '@/features/alerts/silenceDraft'
import { formatLevel, parseLevel, spellLevel, unitOf } from '@/shared/alerts/levels'
import { byRule, byUrgency, fillText, isQuiet, pageOf, worstOf } from '@/shared/alerts/rules'
import { parseSpan, spellSpan } from '@/shared/spans'
import { localOf } from '@/shared/stamps'

const ALERT: Alert = {
  id: 'a1',
  rule_id: 'r1',
  rule_name: 'CPU',
  name_key: '',
  severity: 'warning',
  state: 'firing',
  subject: 'node:n1',
  subject_name: 'n1',
  node_id: 'n1',
  node_name: 'n1',
  instance_id: '',
  system_id: '',
  module_id: '',
  labels: { zone: 'a' },
  value: 93,
  reason: null,
  texts: { en: '', zh: '' },
  started_at: '2026-01-01T00:00:00Z',
  fired_at: '2026-01-01T00:01:00Z',
  resolved_at: null,
  told_at: null,
  flapping: false,
  muted: false,
  silenced_by: [],
  ack: null,
}
const alert = (change: Partial<Alert>): Alert => ({ ...ALERT, ...change })

describe('spans', () => {
  it.each([
    ['90s', 90],
    ['5m', 300],
    ['1h 30m', 5400],
    ['1h30min', 5400],
    ['2d', 172_800],
    ['45', 45],
    ['', 0],
    ['0.5s', 0.5],
  ])('reads %s', (text, seconds) => expect(parseSpan(text)).toBe(seconds))
  it.each(['x', '5 apples', '-5m', 'm5', '5m!'])('refuses %s', (text) => expect(parseSpan(text)).toBeNull())
  it.each([0, 1, 59, 60, 5400, 14_400, 90_061, 172_800])('spells %d so that it reads back', (seconds) =>
    expect(parseSpan(spellSpan(seconds))).toBe(seconds),
  )
})

describe('levels', () => {
  it('knows the unit of a series', () => {
    expect(unitOf('node_metric', 'cpu_percent')).toBe('percent')
    expect(unitOf('node_metric', 'disk:/data:used_percent')).toBe('percent')
    expect(unitOf('node_metric', 'net_rx_bytes_per_s')).toBe('rate')
    expect(unitOf('instance_metric', 'mem_bytes')).toBe('bytes')
    expect(unitOf('node_metric', 'temp:a:b:celsius')).toBe('celsius')
    expect(unitOf('node_metric', 'uptime_s')).toBe('seconds')
    expect(unitOf('certificate', '')).toBe('days')
    expect(unitOf('instance_restarts', '')).toBe('count')
  })
  it.each([
    ['percent', '90', 90],
    ['percent', '90 %', 90],
    ['bytes', '1.5 GB', 1.5e9],
    ['bytes', '1GiB', 1024 ** 3],
    ['rate', '20 MB/s', 2e7],
    ['celsius', '80°C', 80],
    ['days', '14 d', 14],
    ['count', '-3', -3],
  ] as const)('reads %s %s', (unit, text, value) => expect(parseLevel(unit, text)).toBeCloseTo(value))
  it.each([
    ['percent', '9 GB'],
    ['count', '5 %'],
    ['bytes', '5 %'],
    ['percent', ''],
    ['percent', 'ninety'],
  ] as const)('refuses %s %s', (unit, text) => expect(parseLevel(unit, text)).toBeNull())
  it.each([0, 1.5e9, 999, 2e7, 12_345_678])('spells bytes %d so that they read back', (value) =>
    expect(parseLevel('bytes', spellLevel('bytes', value))).toBeCloseTo(value),
  )
  it('formats by the unit', () => {
    expect(formatLevel('percent', 93)).toBe('93.0 %')
    expect(formatLevel('days', 13.9)).toBe('13 d')
    expect(formatLevel('count', null)).toBe('–')
  })
})

describe('order and reach of alerts', () => {
  it('puts what nobody has taken first, then the worst, then the newest', () => {
    const sorted = [
      alert({ id: 'taken', severity: 'critical', ack: { by: 'ada', at: '', note: '' } }),
      alert({ id: 'old', fired_at: '2026-01-01T00:00:30Z' }),
      alert({ id: 'new', fired_at: '2026-01-01T00:09:00Z' }),
      alert({ id: 'bad', severity: 'critical' }),
      alert({ id: 'muted', muted: true }),
    ].sort(byUrgency)
    expect(sorted.map(({ id }) => id)).toEqual(['bad', 'new', 'old', 'taken', 'muted'])
  })
  it('puts the values into the words of a rule, once', () => {
    const values = { name: '{value}', value: '93' }
    expect(fillText('{name} is {value} {{%}} {other}', values)).toBe('{value} is 93 {%} {other}')
  })
  it('puts those of one rule together', () => {
    const all = [alert({ id: 'a' }), alert({ id: 'b', rule_id: 'r2' }), alert({ id: 'c' })]
    expect(byRule(all).map((group) => group.map(({ id }) => id))).toEqual([['a', 'c'], ['b']])
  })
  it('names the worst', () => {
    expect(worstOf([])).toBeNull()
    expect(worstOf([alert({ severity: 'info' }), alert({ severity: 'warning' })])).toBe('warning')
  })
  it('knows which are taken, and where each leads', () => {
    expect(isQuiet(alert({ silenced_by: ['s1'] }))).toBe(true)
    expect(isQuiet(alert({}))).toBe(false)
    expect(pageOf({ subject: 'instance:i1' })).toBe('/instances/i1')
    expect(pageOf({ subject: 'certificate:ca' })).toBe('')
    expect(pageOf({ subject: 'idc:dc1' })).toBe('/provisioning/idcs')
  })
  it('finds what a silence would quiet as the server does', () => {
    const matchers = silences.silenceOf(silences.textOf({ rule: 'r1', node: 'n1' }), 0).matchers
    expect(fitsNow(matchers, ALERT)).toBe(true)
    expect(fitsNow({ ...matchers, labels: { zone: 'b' } }, ALERT)).toBe(false)
    expect(fitsNow({ ...matchers, severity: 'critical' }, ALERT)).toBe(false)
    expect(fitsNow({ ...matchers, node_ids: ['n2', 'n1'] }, ALERT)).toBe(true)
  })
})

describe('form of a rule', () => {
  it('begins with something that works but for its name', () => {
    expect(wrongFields(textOf(null))).toEqual(['name'])
    for (const kind of KINDS) {
      const wrong = wrongFields(ofKind(textOf(null), kind)).map(String)
      // A pattern of log lines has no sensible start.
      expect(
        wrong.filter((field) => field !== 'pattern'),
        kind,
      ).toEqual(['name'])
    }
  })
  it('writes and reads back the same', () => {
    const text = {
      ...textOf(null),
      name: 'CPU',
      reading: 'share' as const,
      window: '10m',
      share: '75',
      holds: '5m',
      labels: 'zone=a',
      nodes: ['n1'],
      channels: ['c1'],
      en: '{name} is hot',
    }
    const rule = ruleOf(text)
    const stored = {
      ...rule,
      id: 'r',
      builtin: '',
      name_key: '',
      created_at: '',
      created_by: '',
      updated_at: '',
    }
    const counted: AlertRule = { ...stored, firing: 0, pending: 0 }
    expect(rule.condition).toMatchObject({ mode: 'share', share_percent: 75, window_s: 600, fire_level: 90 })
    expect(ruleOf(textOf(counted))).toEqual(rule)
  })
  it('sends nothing that another kind of condition left behind', () => {
    const rule = ruleOf(ofKind({ ...textOf(null), system: 's1', noData: 'firing' }, 'node_status'))
    expect(rule.condition).toMatchObject({ series: '', fire_level: null, states: ['offline'], window_s: 0 })
    expect(rule.scope.system_id).toBe('')
    expect(rule.no_data).toBe('ok')
  })
  it('asks of a data centre whether it is heard, and of which by its name', () => {
    const text = ofKind({ ...textOf(null), labels: 'zone=a', nodes: ['n1'] }, 'idc_status')
    expect(wrongFields({ ...text, name: 'away' })).toEqual([])
    const rule = ruleOf({ ...text, labels: 'idc=dc1' })
    expect(rule.condition).toMatchObject({ series: '', fire_level: null, states: ['silent'], window_s: 0 })
    expect(rule.scope).toEqual({ labels: { idc: 'dc1' }, node_ids: [], system_id: '', module_id: '' })
  })
  it.each([
    ['fire', { fire: 'much' }],
    ['clear', { clear: '95' }],
    ['clear', { op: '<=' as const, clear: '85' }],
    ['holds', { holds: '2d' }],
    ['labels', { labels: 'zone' }],
    ['window', { reading: 'mean' as const, window: '1h' }],
    ['share', { reading: 'share' as const, share: '0' }],
    ['interval', { interval: '' }],
  ])('finds %s wrong', (field, change) => {
    expect(wrongFields({ ...textOf(null), name: 'x', ...change })).toEqual([field])
  })
  it('puts the complaints of the server at their fields', () => {
    const problems = [
      '$.condition.clear_level: must be below or equal to fire_level (90)',
      "$.condition.states[0]: 'x' is none of these",
      '$.rule.name: too long',
      '$.channels[1]: there is no channel',
      '$.elsewhere: what',
    ]
    const error = new ApiError(422, 'invalid', 'no', { problems })
    expect(complaintsOf(error)).toEqual({
      clear: 'must be below or equal to fire_level (90)',
      states: "'x' is none of these",
      name: 'too long',
      channels: 'there is no channel',
    })
    expect(complaintsOf(null)).toEqual({})
  })
})

describe('form of a silence', () => {
  it('wants a reason and something to match', () => {
    expect(silences.wrongFields(silences.textOf({}))).toEqual(['reason', 'matchers'])
    const text = { ...silences.textOf({ rule: 'r1', instance: 'i1' }), reason: 'work', span: '4h' }
    expect(silences.wrongFields(text)).toEqual([])
    const known = { ...silences.silenceOf(text, 0), id: 's' } as unknown as Silence
    expect(silences.textOfSilence(known, 1_800_000)).toEqual({ ...text, span: '3h 30m' })
    expect(silences.textOfSilence(known, 4 * 3_600_000 - 5).span).toBe('1m')
    const made = silences.silenceOf(text, Date.parse('2026-01-01T00:00:00Z'))
    expect(made.ends_at).toBe('2026-01-01T04:00:00.000Z')
    expect(made.starts_at).toBeNull()
    expect(made.matchers).toMatchObject({ rule_ids: ['r1'], instance_id: 'i1', severity: null })
  })
  it('begins later where that is wanted, and is changed as it was made', () => {
    const nowMs = Date.parse('2026-01-01T00:00:00Z')
    const starts = localOf('2026-01-03T22:00:00Z')
    const text = { ...silences.textOf({ node: 'n1' }), reason: 'disks', starts, span: '2h' }
    const made = silences.silenceOf(text, nowMs)
    expect(made.starts_at).toBe('2026-01-03T22:00:00.000Z')
    expect(made.ends_at).toBe('2026-01-04T00:00:00.000Z')
    const known = { ...made, id: 's', state: 'scheduled' } as unknown as Silence
    expect(silences.textOfSilence(known, nowMs)).toEqual(text)
    const atOnce = silences.silenceOf({ ...text, starts: '' }, nowMs, true)
    expect(atOnce.starts_at).toBe('2026-01-01T00:00:00.000Z')
    expect(atOnce.ends_at).toBe('2026-01-01T02:00:00.000Z')
  })
  it.each([
    [[{}], { rule: 'r1', node: 'n1' }],
    [[{ instance_id: 'i1' }], { rule: 'r1', instance: 'i1' }],
    [[{}, { node_id: 'n2', rule_id: 'r2' }], { rule: 'r1,r2', node: 'n1,n2' }],
    [[{ instance_id: 'i1' }, { instance_id: 'i2', node_id: 'n2' }], { rule: 'r1', node: 'n1,n2' }],
    [[{}, { node_id: '', subject: 'certificate:ca' }], { rule: 'r1' }],
    [[], { rule: '' }],
  ])('begins from alerts %j', (changes, query) => expect(silences.queryOf(changes.map(alert))).toEqual(query))
})

describe('curves around alerts', () => {
  it('shows some time before and what came after', () => {
    const ended = alert({ resolved_at: '2026-01-01T01:01:00Z' })
    const startS = Date.parse(ALERT.started_at) / 1000
    expect(spanOf(ended, startS + 86_400)).toEqual({ fromS: startS - 1800, toS: startS + 3660 + 120 })
    expect(spanOf(ALERT, startS + 90)).toEqual({ fromS: startS - 300, toS: startS + 90 })
  })
  it('draws each level once', () => {
    const { condition } = ruleOf(textOf(null))
    const names = { fire: 'fires at', clear: 'clears at' }
    expect(levelsOf(condition, names).map(({ label }) => label)).toEqual([
      'fires at 90.0 %',
      'clears at 85.0 %',
    ])
    expect(levelsOf({ ...condition, clear_level: 90 }, names)).toHaveLength(1)
    expect(levelsOf({ ...condition, fire_level: null, clear_level: null }, names)).toEqual([])
  })
  it('places the periods of a back-test', () => {
    const period = { state: 'firing' as const, from: 25, to: 75 }
    expect(placeOf(period, { fromS: 0, toS: 100 })).toEqual({ left: '25.000%', width: '50.000%' })
    const subject: BacktestSubject = {
      subject: 'node:n1',
      name: 'n1',
      periods: [{ state: 'pending', from: 0, to: 25 }, period],
      fired: 1,
      points: [],
    }
    expect(marksOf(subject, 100, (state) => state).map(({ at, text }) => [at, text])).toEqual([
      [25, 'firing'],
      [75, 'resolved'],
    ])
    expect(marksOf(subject, 75, (state) => state)).toHaveLength(1)
    expect(marksOf(null, 1, (state) => state)).toEqual([])
  })
})

describe('overview', () => {
  it('lists operations and alerts together, the newest first', () => {
    const operation = { id: 'o1', updated_at: '2026-01-01T00:00:30Z' } as Operation
    const over = alert({ id: 'over', state: 'resolved', resolved_at: '2026-01-01T00:05:00Z' })
    const pending = alert({ id: 'pending', state: 'pending', fired_at: null })
    const events = lastEvents([operation], [alert({}), over, pending], 5)
    expect(events.map((event) => (event.kind === 'alert' ? event.alert.id : event.operation.id))).toEqual([
      'over',
      'a1',
      'o1',
    ])
    expect(lastEvents([operation], [over], 1)).toHaveLength(1)
  })
  it('counts systems by the worst state of their instances', () => {
    const of = (system_id: string, state: Instance['state']): Instance => ({ system_id, state }) as Instance
    const all = [of('s1', 'running'), of('s1', 'failed'), of('s2', 'running'), of('s3', 'stopped')]
    expect(systemStates(all)).toEqual({ failed: 1, running: 1, stopped: 1 })
  })
})

describe('messages of an alert', () => {
  const channel = (id: string, enabled: boolean): Channel => ({ id, enabled }) as Channel
  it('went to the channels the rule names, else to any', () => {
    const all = [channel('a', true), channel('b', false)]
    expect(channelsOf([], all).map(({ id }) => id)).toEqual(['a', 'b'])
    expect(channelsOf(['b'], all).map(({ id }) => id)).toEqual(['b'])
  })
})
