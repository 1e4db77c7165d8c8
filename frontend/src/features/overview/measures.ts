/** What the cells of the fleet grid can be coloured by: the value of a node, what is full, and how it is spelled. */
import type { Node } from '@/api/types'
import { formatPercent, formatRate } from '@/shared/format'
import { nodeGauge, type NodeGauge } from '@/shared/gauges'
import type { Fleet } from '@/stores/live'

export interface Measure {
  read: (fleet: Fleet, node: Node) => number | null
  /** What counts as full; null: the highest of the fleet does. */
  full: number | null
  format: (value: number | null) => string
}

const gauge = (name: NodeGauge) => (fleet: Fleet, node: Node) => nodeGauge(fleet, node, name)
const percent = (name: NodeGauge): Measure => ({ read: gauge(name), full: 100, format: formatPercent })
const both =
  (one: NodeGauge, other: NodeGauge) =>
  (fleet: Fleet, node: Node): number | null => {
    const a = nodeGauge(fleet, node, one)
    const b = nodeGauge(fleet, node, other)
    return a === null && b === null ? null : (a ?? 0) + (b ?? 0)
  }

/** Load of a core: one means that every core has work, and nothing waits. */
function readLoad(fleet: Fleet, node: Node): number | null {
  const load = nodeGauge(fleet, node, 'load1')
  return load === null ? null : load / Math.max(1, node.cpu_cores)
}

export const MEASURES: Record<string, Measure> = {
  cpu: percent('cpu_percent'),
  mem: percent('mem_percent'),
  disk: percent('disk_percent'),
  load: { read: readLoad, full: 1.5, format: (value) => (value === null ? '–' : value.toFixed(2)) },
  network: { read: both('net_rx_bytes_per_s', 'net_tx_bytes_per_s'), full: null, format: formatRate },
  diskIo: { read: both('disk_read_bytes_per_s', 'disk_write_bytes_per_s'), full: null, format: formatRate },
}

/** The least that counts as full where the fleet says: an idle fleet is calm. */
const LEAST_FULL = 1_000_000

export function fullOf({ read, full }: Measure, fleet: Fleet, nodes: Iterable<Node>): number {
  if (full !== null) return full
  let highest = LEAST_FULL
  for (const node of nodes) highest = Math.max(highest, read(fleet, node) ?? 0)
  return highest
}
