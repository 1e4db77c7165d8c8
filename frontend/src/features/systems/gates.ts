import type { RolloutGate } from '@/api/types'

/** The live series of an instance that a gate may look at; `factor`: from the unit a person types to the series'. */
export const GATE_SERIES = {
  cpu_percent: { unit: '%', factor: 1 },
  mem_bytes: { unit: 'MB', factor: 1e6 },
  processes: { unit: '', factor: 1 },
  file_descriptors: { unit: '', factor: 1 },
  disk_read_bytes_per_s: { unit: 'MB/s', factor: 1e6 },
  disk_write_bytes_per_s: { unit: 'MB/s', factor: 1e6 },
} as const
export type GateSeries = keyof typeof GATE_SERIES
export type GateKind = 'growth' | 'above' | 'below'

/** One gate as it is typed; an empty value is not sent. */
export interface GateDraft {
  series: GateSeries
  kind: GateKind
  value: number | undefined
  window_s: number
}

export const newGate = (bake_s: number): GateDraft => ({
  series: 'mem_bytes',
  kind: 'growth',
  value: 1.5,
  window_s: Math.max(1, Math.min(10, Math.floor(bake_s))),
})

/** What is sent; gates without a value are left out. */
export function gatesOf(drafts: readonly GateDraft[]): RolloutGate[] {
  return drafts.flatMap(({ series, kind, value, window_s }) => {
    if (value === undefined) return []
    const level = kind === 'growth' ? value : value * GATE_SERIES[series].factor
    return [{ series, window_s, above: null, below: null, growth: null, [kind]: level }]
  })
}
