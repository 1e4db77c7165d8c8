/** `datetime-local` fields (local time, no zone) and the stamps of the API (UTC). Pure. */

export function stampOf(local: string): string {
  const at = new Date(local)
  return local && !Number.isNaN(at.getTime()) ? at.toISOString() : ''
}

export function localOf(stamp: string): string {
  const at = new Date(stamp)
  if (!stamp || Number.isNaN(at.getTime())) return ''
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}
