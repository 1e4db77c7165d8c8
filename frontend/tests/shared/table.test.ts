import { describe, expect, it } from 'vitest'
import { effectScope, nextTick, ref, shallowRef } from 'vue'
import { keepOrder, leastWidthOf, sortRows, type Column } from '@/shared/table/columns'
import { useRows } from '@/shared/table/useRows'

interface Row {
  id: string
  cpu: number | null
}
const columns: Column<Row>[] = [
  { id: 'id', label: 'Id', width: 'minmax(120px, 1fr)', sortBy: ({ id }) => id },
  { id: 'cpu', label: 'CPU', width: '80px', sortBy: ({ cpu }) => cpu },
]
const rows: Row[] = [
  { id: 'n10', cpu: 5 },
  { id: 'n9', cpu: null },
  { id: 'n1', cpu: 50 },
]
const ids = (list: Row[]): string => list.map(({ id }) => id).join(' ')

describe('sorting', () => {
  it('sorts names as people count', () => expect(ids(sortRows(rows, columns, 'id'))).toBe('n1 n9 n10'))
  it('keeps rows without a value at the end, both ways', () => {
    expect(ids(sortRows(rows, columns, 'cpu'))).toBe('n10 n1 n9')
    expect(ids(sortRows(rows, columns, '-cpu'))).toBe('n1 n10 n9')
  })
  it('puts new rows after those that have a place', () => {
    const before = new Map([['n9', 0], ['n10', 1]]) // prettier-ignore
    expect(ids(keepOrder(rows, ({ id }) => id, before))).toBe('n9 n10 n1')
  })
  it('knows how wide a table must be', () => expect(leastWidthOf(columns)).toBe(200))
})

describe('live rows', () => {
  it('does not move a row when its value changes, only when somebody sorts', async () => {
    const source = shallowRef<Row[]>([
      { id: 'a', cpu: 1 },
      { id: 'b', cpu: 2 },
    ])
    const sort = ref('-cpu')
    const scope = effectScope()
    const shown = scope.run(() =>
      useRows<Row>({
        all: () => source.value,
        keyOf: ({ id }) => id,
        filter: ref(''),
        sort,
        reader: { words: ({ id }) => id, fields: {}, numbers: {} },
        columns: () => columns,
      }),
    )
    expect(ids(shown?.value ?? [])).toBe('b a')
    source.value = [
      { id: 'a', cpu: 9 },
      { id: 'b', cpu: 2 },
      { id: 'c', cpu: 99 },
    ]
    await nextTick()
    expect(ids(shown?.value ?? [])).toBe('b a c')
    sort.value = 'cpu'
    await nextTick()
    expect(ids(shown?.value ?? [])).toBe('b a c')
    sort.value = '-cpu'
    await nextTick()
    expect(ids(shown?.value ?? [])).toBe('c a b')
    scope.stop()
  })
})
