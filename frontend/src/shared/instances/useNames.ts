/** What nodes, modules and instances are called, while the calling component lives. */
import type { Instance, Module, Node, System } from '@/api/types'
import { useCollection, type Collection } from '@/stores/live'

export interface Names {
  node: (id: string) => string
  module: (instance: Instance) => string
  system: (id: string) => string
  /** "web @ n3" */
  instance: (instance: Instance) => string
  modules: Collection<Module>
  nodes: Collection<Node>
  systems: Collection<System>
}

export function useNames(): Names {
  const nodes = useCollection('nodes')
  const systems = useCollection('systems')
  const modules = useCollection('modules')
  const node = (id: string): string => nodes.byId.value.get(id)?.name ?? id
  const module = (instance: Instance): string =>
    modules.byId.value.get(instance.module_id)?.name ?? instance.name
  return {
    node,
    module,
    system: (id) => systems.byId.value.get(id)?.name ?? id,
    instance: (instance) => `${module(instance)} @ ${node(instance.node_id)}`,
    modules,
    nodes,
    systems,
  }
}
