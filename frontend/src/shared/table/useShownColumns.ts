/** Which columns of a table a person chose; remembered by the table's name. */
import { computed, type ComputedRef, type Ref } from 'vue'
import { remembered } from '@/stores/preferences'
import type { Column } from './columns'

type Choice = Record<string, boolean>

const choices = new Map<string, Ref<Choice>>()

/** The choice of table `name`, shared by the table and its chooser. */
export function useColumnChoice(name: string): Ref<Choice> {
  const known = choices.get(name)
  if (known) return known
  const choice = remembered<Choice>(`columns.${name}`, {})
  choices.set(name, choice)
  return choice
}

export function isShown<T>(column: Column<T>, choice: Choice): boolean {
  return choice[column.id] ?? !column.isOptional
}

export function useShownColumns<T>(name: string, columns: () => Column<T>[]): ComputedRef<Column<T>[]> {
  const choice = useColumnChoice(name)
  return computed(() => columns().filter((column, index) => index === 0 || isShown(column, choice.value)))
}
