/** The time ranges a chart can show; the chosen one stands in the address. */
import { computed, type WritableComputedRef } from 'vue'
import { useQueryParam } from '../url'

/** Seconds by the word in the address. The server keeps 15 minutes at a point a second. */
export const RANGES: Record<string, number> = { '1m': 60, '5m': 300, '15m': 900 }
const DEFAULT = '5m'

export function useRange(): WritableComputedRef<number> {
  const word = useQueryParam('range', DEFAULT)
  return computed({
    get: () => RANGES[word.value] ?? RANGES[DEFAULT] ?? 300,
    set: (seconds) => (word.value = Object.keys(RANGES).find((key) => RANGES[key] === seconds) ?? DEFAULT),
  })
}
