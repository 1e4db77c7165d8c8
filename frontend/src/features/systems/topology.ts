/** Modules as columns by what they wait for, and the lines between them. Pure. */
import type { Module } from '@/api/types'
import { compareText } from '@/shared/collate'

export interface Place {
  module: Module
  column: number
  row: number
}
export interface Line {
  from: Place
  to: Place
}
export interface Topology {
  places: Place[]
  lines: Line[]
  columns: number
  rows: number
}

/** How many steps a module waits: 0 without dependencies, else one more than the slowest of them. */
function depthsOf(modules: Module[]): Map<string, number> {
  const byId = new Map(modules.map((module) => [module.id, module]))
  const depths = new Map<string, number>()
  const visit = (module: Module): number => {
    const known = depths.get(module.id)
    if (known !== undefined) return known
    depths.set(module.id, 0) // the server refuses circles; this only ends one
    const before = module.depends_on.flatMap((id) => byId.get(id) ?? [])
    const depth = before.length > 0 ? Math.max(...before.map(visit)) + 1 : 0
    depths.set(module.id, depth)
    return depth
  }
  modules.forEach(visit)
  return depths
}

export function layOut(modules: Module[]): Topology {
  const depths = depthsOf(modules)
  const sorted = [...modules].sort((a, b) => a.start_order - b.start_order || compareText(a.name, b.name))
  const filled = new Map<number, number>()
  const places = sorted.map((module): Place => {
    const column = depths.get(module.id) ?? 0
    const row = filled.get(column) ?? 0
    filled.set(column, row + 1)
    return { module, column, row }
  })
  const byId = new Map(places.map((place) => [place.module.id, place]))
  const lines = places.flatMap((to) =>
    to.module.depends_on.flatMap((id) => {
      const from = byId.get(id)
      return from ? [{ from, to }] : []
    }),
  )
  return { places, lines, columns: filled.size, rows: Math.max(0, ...filled.values()) }
}
