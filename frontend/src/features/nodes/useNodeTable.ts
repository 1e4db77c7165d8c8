/** The node table: columns, filter fields, live values. */
import { computed, type ComputedRef, type Ref, type ShallowRef } from 'vue'
import { useI18n } from 'vue-i18n'
import type { Node } from '@/api/types'
import type { Reader } from '@/shared/filter'
import { formatLabels } from '@/shared/format'
import { nodeGauge, type NodeGauge } from '@/shared/gauges'
import { countBy } from '@/shared/instances/rules'
import type { Column } from '@/shared/table/columns'
import { useRows } from '@/shared/table/useRows'
import { useCollection, useFleet, type Collection } from '@/stores/live'

export type Flag = 'paused' | 'draining' | 'revoked'

export interface NodeTable {
  nodes: Collection<Node>
  rows: ShallowRef<Node[]>
  columns: ComputedRef<Column<Node>[]>
  reader: Reader<Node>
  gauge: (node: Node, name: NodeGauge) => number | null
  instancesOn: (node: Node) => number
  flagsOf: (node: Node) => Flag[]
}

const FLAGS: Flag[] = ['paused', 'draining', 'revoked']
const METER = 'minmax(118px, 1.2fr)'

type Values = Pick<NodeTable, 'gauge' | 'instancesOn'>

function readerOf({ gauge, instancesOn }: Values): Reader<Node> {
  return {
    words: (node) => [node.name, node.hostname, node.ip, node.platform, formatLabels(node.labels)].join(' '),
    fields: {
      status: (node) => node.status,
      label: (node) => Object.entries(node.labels).map(([key, value]) => `${key}=${value}`),
      os: (node) => node.os,
      arch: (node) => node.arch,
      version: (node) => node.worker_version,
      is: (node) => FLAGS.filter((flag) => node[flag]),
    },
    numbers: {
      cpu: (node) => gauge(node, 'cpu_percent'),
      mem: (node) => gauge(node, 'mem_percent'),
      disk: (node) => gauge(node, 'disk_percent'),
      load: (node) => gauge(node, 'load1'),
      instances: instancesOn,
    },
  }
}

function useColumns({ gauge, instancesOn }: Values): ComputedRef<Column<Node>[]> {
  const { t } = useI18n()
  const by = (name: NodeGauge) => (node: Node) => gauge(node, name)
  const rate = { width: '100px', isNumber: true }
  return computed(() => [
    { id: 'name', label: t('nodes.name'), width: 'minmax(150px, 2fr)', sortBy: (node) => node.name },
    { id: 'status', label: t('nodes.status'), width: '110px', sortBy: (node) => node.status },
    { id: 'cpu', label: t('metric.cpu'), width: METER, sortBy: by('cpu_percent') },
    { id: 'mem', label: t('metric.mem'), width: METER, sortBy: by('mem_percent') },
    { id: 'disk', label: t('metric.disk'), width: METER, sortBy: by('disk_percent') },
    { id: 'load', label: t('metric.load'), width: '70px', isNumber: true, sortBy: by('load1') },
    { id: 'rx', label: t('metric.rx'), ...rate, sortBy: by('net_rx_bytes_per_s') },
    { id: 'tx', label: t('metric.tx'), ...rate, sortBy: by('net_tx_bytes_per_s') },
    { id: 'instances', label: t('nodes.instances'), width: '90px', isNumber: true, sortBy: instancesOn },
    { id: 'labels', label: t('nodes.labels'), width: 'minmax(110px, 1.5fr)' },
    { id: 'ip', label: t('nodes.ip'), width: '130px', sortBy: (node) => node.ip },
    {
      id: 'platform',
      label: t('nodes.platform'),
      width: 'minmax(130px, 1fr)',
      isOptional: true,
      sortBy: (n) => n.platform,
    },
    {
      id: 'cores',
      label: t('nodes.cores'),
      width: '80px',
      isNumber: true,
      isOptional: true,
      sortBy: (n) => n.cpu_cores,
    },
    { id: 'memory', label: t('nodes.memory'), ...rate, isOptional: true, sortBy: (n) => n.mem_total_bytes },
    {
      id: 'version',
      label: t('nodes.version'),
      width: '110px',
      isOptional: true,
      sortBy: (n) => n.worker_version,
    },
    {
      id: 'seen',
      label: t('nodes.seen'),
      width: '130px',
      isNumber: true,
      isOptional: true,
      sortBy: (n) => n.last_seen,
    },
  ])
}

export function useNodeTable(filter: Ref<string>, sort: Ref<string>): NodeTable {
  const nodes = useCollection('nodes')
  const instances = useCollection('instances')
  const fleet = useFleet()
  const counts = computed(() => countBy(instances.byId.value.values(), ({ node_id }) => node_id))
  const values: Values = {
    gauge: (node, name) => nodeGauge(fleet, node, name),
    instancesOn: (node) => counts.value[node.id] ?? 0,
  }
  const reader = readerOf(values)
  const columns = useColumns(values)
  const rows = useRows<Node>({
    all: () => nodes.byId.value.values(),
    tick: () => fleet.at.value,
    keyOf: ({ id }) => id,
    filter,
    sort,
    reader,
    columns: () => columns.value,
  })
  return { nodes, rows, columns, reader, ...values, flagsOf: (node) => FLAGS.filter((flag) => node[flag]) }
}
