/** Systems, modules and instances as the rows of one tree. Pure. */
import type { Instance, Module, System } from '@/api/types'
import { compareText } from '@/shared/collate'

export type TreeRow =
  | { kind: 'system'; key: string; depth: 0; system: System; instances: Instance[]; modules: number }
  | { kind: 'module'; key: string; depth: 1; system: System; module: Module; instances: Instance[] }
  | { kind: 'instance'; key: string; depth: 2; system: System; module: Module | null; instance: Instance }

export interface TreeSource {
  systems: System[]
  modules: Module[]
  instances: Instance[]
  nodeName: (id: string) => string
}

const byName = (a: { name: string }, b: { name: string }): number => compareText(a.name, b.name)

function groupBy<T>(items: T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group) group.push(item)
    else groups.set(keyOf(item), [item])
  }
  return groups
}

/** Every row, depth first: systems by name, modules in start order, instances by node. */
export function buildTree({ systems, modules, instances, nodeName }: TreeSource): TreeRow[] {
  const modulesOf = groupBy(modules, (module) => module.system_id)
  const instancesOf = groupBy(instances, (instance) => instance.system_id)
  return [...systems].sort(byName).flatMap((system) => {
    const own = instancesOf.get(system.id) ?? []
    const parts = [...(modulesOf.get(system.id) ?? [])].sort(
      (a, b) => a.start_order - b.start_order || byName(a, b),
    )
    const known = new Set(parts.map(({ id }) => id))
    const instanceRow = (instance: Instance, module: Module | null): TreeRow => ({
      kind: 'instance',
      key: instance.id,
      depth: 2,
      system,
      module,
      instance,
    })
    const placed = (list: Instance[]): Instance[] =>
      [...list].sort((a, b) => compareText(nodeName(a.node_id), nodeName(b.node_id)))
    const moduleRows = parts.flatMap((module): TreeRow[] => {
      const running = placed(own.filter(({ module_id }) => module_id === module.id))
      const head: TreeRow = { kind: 'module', key: module.id, depth: 1, system, module, instances: running }
      return [head, ...running.map((instance) => instanceRow(instance, module))]
    })
    const loose = placed(own.filter(({ module_id }) => !known.has(module_id)))
    const head: TreeRow = {
      kind: 'system',
      key: system.id,
      depth: 0,
      system,
      instances: own,
      modules: parts.length,
    }
    return [head, ...moduleRows, ...loose.map((instance) => instanceRow(instance, null))]
  })
}

/** The rows that match, with the rows above them; everything below a matching system or module stays too. */
export function filterTree(rows: TreeRow[], isMatch: (row: TreeRow) => boolean): TreeRow[] {
  const kept = new Set<TreeRow>()
  const above: TreeRow[] = []
  let keepBelow = Infinity
  for (const row of rows) {
    above.length = row.depth
    above[row.depth] = row
    if (row.depth <= keepBelow) keepBelow = Infinity
    if (keepBelow < row.depth) kept.add(row)
    else if (isMatch(row)) {
      for (const parent of above) if (parent) kept.add(parent)
      keepBelow = row.depth
    }
  }
  return rows.filter((row) => kept.has(row))
}

/** Without what stands below a closed row. */
export function foldTree(rows: TreeRow[], closed: Set<string>): TreeRow[] {
  let hiddenBelow = Infinity
  return rows.filter((row) => {
    if (row.depth > hiddenBelow) return false
    hiddenBelow = closed.has(row.key) ? row.depth : Infinity
    return true
  })
}
