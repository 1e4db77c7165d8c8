/** The tree the page shows: built from live data, filtered, folded. */
import { computed, type ComputedRef, type Ref } from 'vue'
import type { Instance } from '@/api/types'
import { matches, parseFilter, type Reader } from '@/shared/filter'
import { instanceGauge } from '@/shared/gauges'
import { useNames, type Names } from '@/shared/instances/useNames'
import { remembered } from '@/stores/preferences'
import { useCollection, useFleet, type Collection, type Fleet } from '@/stores/live'
import { buildTree, filterTree, foldTree, type TreeRow } from './tree'

export interface SystemTree {
  names: Names
  fleet: Fleet
  instances: Collection<Instance>
  all: ComputedRef<TreeRow[]>
  rows: ComputedRef<TreeRow[]>
  reader: Reader<TreeRow>
  isClosed: (key: string) => boolean
  toggle: (key: string) => void
}

const closedRows = remembered<string[]>('systems.closed', [])

function readerOf(names: Names, fleet: Fleet): Reader<TreeRow> {
  const instanceOf = (row: TreeRow): Instance | null => (row.kind === 'instance' ? row.instance : null)
  const gauge = (row: TreeRow, name: 'cpu_percent' | 'mem_bytes'): number | null => {
    const instance = instanceOf(row)
    return instance ? instanceGauge(fleet, instance, name) : null
  }
  return {
    words: (row) => {
      if (row.kind === 'system') return `${row.system.name} ${row.system.description}`
      if (row.kind === 'module') return `${row.module.name} ${row.module.package} ${row.module.version}`
      return `${names.instance(row.instance)} ${row.instance.id}`
    },
    fields: {
      system: (row) => row.system.name,
      module: (row) => (row.kind === 'system' ? [] : (row.module?.name ?? [])),
      state: (row) => instanceOf(row)?.state ?? [],
      health: (row) => instanceOf(row)?.health ?? [],
      node: (row) => (row.kind === 'instance' ? names.node(row.instance.node_id) : []),
      package: (row) => (row.kind === 'module' ? row.module.package : (instanceOf(row)?.package ?? [])),
      version: (row) => (row.kind === 'module' ? row.module.version : (instanceOf(row)?.version ?? [])),
    },
    numbers: {
      cpu: (row) => gauge(row, 'cpu_percent'),
      mem: (row) => {
        const bytes = gauge(row, 'mem_bytes')
        return bytes === null ? null : bytes / 1e6
      },
      restarts: (row) => instanceOf(row)?.restarts,
    },
  }
}

export function useSystemTree(filter: Ref<string>): SystemTree {
  const names = useNames()
  const instances = useCollection('instances')
  const fleet = useFleet()
  const reader = readerOf(names, fleet)
  const closed = computed(() => new Set(closedRows.value))
  const all = computed(() =>
    buildTree({
      systems: [...names.systems.byId.value.values()],
      modules: [...names.modules.byId.value.values()],
      instances: [...instances.byId.value.values()],
      nodeName: names.node,
    }),
  )
  const rows = computed(() => {
    const terms = parseFilter(filter.value)
    if (terms.length === 0) return foldTree(all.value, closed.value)
    return filterTree(all.value, (row) => matches(row, terms, reader))
  })
  function toggle(key: string): void {
    const next = new Set(closed.value)
    if (!next.delete(key)) next.add(key)
    closedRows.value = [...next]
  }
  return { names, fleet, instances, all, rows, reader, isClosed: (key) => closed.value.has(key), toggle }
}
