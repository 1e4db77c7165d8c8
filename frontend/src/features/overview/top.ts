/** The highest few by one value, in one pass. Pure. */
export interface Ranked<T> {
  item: T
  value: number
}

export function topBy<T>(items: Iterable<T>, read: (item: T) => number | null, count: number): Ranked<T>[] {
  const top: Ranked<T>[] = []
  for (const item of items) {
    const value = read(item)
    if (value === null || !Number.isFinite(value)) continue
    const last = top[count - 1]
    if (last && value <= last.value) continue
    const place = top.findIndex((other) => value > other.value)
    top.splice(place < 0 ? top.length : place, 0, { item, value })
    top.length = Math.min(top.length, count)
  }
  return top
}
