/** Paging of a list the server sorts and cuts. */
export const PAGE_SIZE = 100

/** "101–200 of 5312" as numbers; nothing on an empty list. */
export function windowOf(
  offset: number,
  shown: number,
  total: number,
): { from: number; to: number; total: number } {
  return { from: total === 0 ? 0 : offset + 1, to: offset + shown, total }
}
