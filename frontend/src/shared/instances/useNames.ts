/** What nodes, modules and instances are called, while the calling component lives. */
import { watch, type ShallowRef } from 'vue'
import type { Instance, Module, Node, System } from '@/api/types'
import { useCatalogue } from '@/stores/catalogue'
import { useCollection, type Collection } from '@/stores/live'
import { storeToRefs } from 'pinia'

export interface Names {
  node: (id: string) => string
  module: (instance: Instance) => string
  system: (id: string) => string
  /** "web @ n3" */
  instance: (instance: Instance) => string
  modules: ShallowRef<Map<string, Module>>
  nodes: Collection<Node>
  systems: Collection<System>
}

export function useNames(): Names {
  const nodes = useCollection('nodes')
  const systems = useCollection('systems')
  const catalogue = useCatalogue()
  const { modules } = storeToRefs(catalogue)
  watch(
    [systems.byId, systems.isReady],
    () => systems.isReady.value && void catalogue.refresh(systems.byId.value.values()),
    { immediate: true },
  )
  const node = (id: string): string => nodes.byId.value.get(id)?.name ?? id
  const module = (instance: Instance): string =>
    modules.value.get(instance.module_id)?.name ?? instance.name ?? instance.package
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
