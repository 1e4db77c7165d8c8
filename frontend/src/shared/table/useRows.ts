/** The rows of a live table: filtered all the time, sorted only when somebody sorts or filters. */
import { shallowRef, watch, type Ref, type ShallowRef } from 'vue'
import { matches, parseFilter, type Reader } from '../filter'
import { keepOrder, sortRows, type Column } from './columns'

export interface RowSource<T> {
  all: () => Iterable<T>
  keyOf: (row: T) => string
  filter: Ref<string>
  sort: Ref<string>
  reader: Reader<T>
  columns: () => Column<T>[]
}

export function useRows<T>(source: RowSource<T>): ShallowRef<T[]> {
  const rows = shallowRef<T[]>([])
  let order = new Map<string, number>()
  let ordered = ''
  watch(
    [() => source.all(), source.filter, source.sort],
    () => {
      const terms = parseFilter(source.filter.value)
      const found = [...source.all()].filter((row) => matches(row, terms, source.reader))
      const sorted = sortRows(found, source.columns(), source.sort.value)
      const act = `${source.sort.value}\n${source.filter.value}`
      const isByPerson = act !== ordered || order.size === 0
      rows.value = isByPerson ? sorted : keepOrder(sorted, source.keyOf, order)
      ordered = act
      order = new Map(rows.value.map((row, index) => [source.keyOf(row), index]))
    },
    { immediate: true },
  )
  return rows
}
