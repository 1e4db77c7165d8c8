/** The rows of a live table: filtered all the time, sorted only when somebody sorts or filters. */
import { computed, shallowRef, watch, type Ref, type ShallowRef } from 'vue'
import { matches, parseFilter, type Reader } from '../filter'
import { keepOrder, sortRows, type Column } from './columns'

export interface RowSource<T> {
  all: () => Iterable<T>
  keyOf: (row: T) => string
  filter: Ref<string>
  sort: Ref<string>
  reader: Reader<T>
  columns: () => Column<T>[]
  /** Changes when values move; read only while the filter compares values (`cpu>80`). */
  tick?: () => unknown
}

export function useRows<T>(source: RowSource<T>): ShallowRef<T[]> {
  const rows = shallowRef<T[]>([])
  const terms = computed(() => parseFilter(source.filter.value))
  const comparesValues = computed(() => terms.value.some(({ kind }) => kind === 'compare'))
  let order = new Map<string, number>()
  let lastAct = ''

  function update(): void {
    const found = [...source.all()].filter((row) => matches(row, terms.value, source.reader))
    const act = `${source.sort.value}\n${source.filter.value}`
    const isByPerson = act !== lastAct || order.size === 0
    const fresh = isByPerson ? found : found.filter((row) => !order.has(source.keyOf(row)))
    const sorted = sortRows(fresh, source.columns(), source.sort.value)
    const known = isByPerson ? [] : found.filter((row) => order.has(source.keyOf(row)))
    rows.value = [...keepOrder(known, source.keyOf, order), ...sorted]
    lastAct = act
    order = new Map(rows.value.map((row, index) => [source.keyOf(row), index]))
  }

  const moved = (): unknown => (comparesValues.value ? source.tick?.() : 0)
  watch([() => source.all(), terms, source.sort, moved], update, { immediate: true })
  return rows
}
