/** Modules of every system by id: what instances are called. Read by GET, since no topic tells of modules. */
import { defineStore } from 'pinia'
import { shallowRef } from 'vue'
import { http } from '@/api/http'
import type { Module, Page, System } from '@/api/types'

const LIMIT = 500
const AT_ONCE = 6

async function fetchModules(system: System): Promise<Module[]> {
  return (await http.get<Page<Module>>(`/systems/${system.id}/modules`, { limit: LIMIT })).items
}

export const useCatalogue = defineStore('catalogue', () => {
  const modules = shallowRef(new Map<string, Module>())
  const isReady = shallowRef(false)
  const error = shallowRef<unknown>(null)
  let asked = 0

  /** Read the modules of all `systems` anew; a later call overtakes an earlier one. */
  async function refresh(systems: Iterable<System>): Promise<void> {
    const mine = ++asked
    const waiting = [...systems]
    const found = new Map<string, Module>()
    const worker = async (): Promise<void> => {
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        for (const module of await fetchModules(next)) found.set(module.id, module)
      }
    }
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, worker))
      if (mine !== asked) return
      modules.value = found
      isReady.value = true
      error.value = null
    } catch (problem) {
      if (mine === asked) error.value = problem
    }
  }

  return { modules, isReady, error, refresh }
})
