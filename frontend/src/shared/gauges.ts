/** The newest values of nodes and instances: the live fleet first, else what came with the object. */
import type { Instance, Node } from '@/api/types'
import type { Fleet } from '@/stores/live'

/** Order of a node's row in `metrics:fleet`; the names are those of `node.metrics`. */
export const NODE_GAUGES = [
  'cpu_percent',
  'mem_percent',
  'disk_percent',
  'load1',
  'net_rx_bytes_per_s',
  'net_tx_bytes_per_s',
  'disk_read_bytes_per_s',
  'disk_write_bytes_per_s',
] as const
export type NodeGauge = (typeof NODE_GAUGES)[number]

const INSTANCE_GAUGES = ['cpu_percent', 'mem_bytes'] as const
export type InstanceGauge = (typeof INSTANCE_GAUGES)[number]

/** A silent node has no newest value: what it sent last is not of now. */
export function nodeGauge(fleet: Fleet, node: Node, name: NodeGauge): number | null {
  if (fleet.at.value < 0 || node.status === 'offline' || node.status === 'planned') return null
  return fleet.nodes.get(node.id)?.[NODE_GAUGES.indexOf(name)] ?? node.metrics?.[name] ?? null
}

export function instanceGauge(fleet: Fleet, instance: Instance, name: InstanceGauge): number | null {
  if (fleet.at.value < 0 || instance.pid === null || instance.state === 'unknown') return null
  return fleet.instances.get(instance.id)?.[INSTANCE_GAUGES.indexOf(name)] ?? instance.metrics?.[name] ?? null
}
