/** The highest few by one value. Pure. */
export function topBy<T>(
  items: Iterable<T>,
  read: (item: T) => number | null,
  count: number,
): { item: T; value: number }[] {
  return [...items]
    .map((item) => ({ item, value: read(item) }))
    .filter(
      (entry): entry is { item: T; value: number } => entry.value !== null && Number.isFinite(entry.value),
    )
    .sort((a, b) => b.value - a.value)
    .slice(0, count)
}
