/** The part of time the charts of a page show; it stands in the address, each choice is a step back. */
import { computed, type ComputedRef } from 'vue'
import { useRoute, useRouter } from 'vue-router'
import type { Span } from './series'

/** Seconds by the word in the address. */
export const RANGES: Record<string, number> = {
  '1m': 60,
  '15m': 900,
  '1h': 3600,
  '6h': 21_600,
  '24h': 86_400,
  '7d': 604_800,
}
const DEFAULT = '15m'
const POINTS = 900
const STEPS_S = [1, 10, 30, 60, 120, 300, 600, 900, 1800, 3600]
/** From which age on the server knows no finer steps: a point a second, each ten seconds, each minute. */
const COARSER_FROM: [ageS: number, stepS: number][] = [
  [900, 10],
  [21_600, 60],
]
const SLACK_S = 60
/** The shortest part that can be zoomed to. */
const LEAST_ZOOM_S = 5

/** Seconds between the points to ask for: as fine as the server knows and a chart can show. */
export function stepFor({ fromS, toS }: Span, nowS: number): number {
  const known = COARSER_FROM.filter(([ageS]) => nowS - fromS > ageS + SLACK_S).map(([, stepS]) => stepS)
  const wanted = Math.max((toS - fromS) / POINTS, ...known)
  return STEPS_S.find((step) => step >= wanted) ?? Math.ceil(wanted / 3600) * 3600
}

/** A span out of the address; null unless it is one. */
export function readZoom(from: unknown, to: unknown): Span | null {
  const fromS = Number(from)
  const toS = Number(to)
  const isSpan = typeof from === 'string' && typeof to === 'string' && fromS > 0 && toS > fromS
  return isSpan && Number.isFinite(toS) ? { fromS, toS } : null
}

export interface TimeRange {
  /** Up to now, in seconds; what is shown while nothing is zoomed. */
  rangeS: ComputedRef<number>
  zoom: ComputedRef<Span | null>
  choose: (word: string) => void
  zoomTo: (span: Span) => void
  zoomOut: () => void
}

export function useTimeRange(): TimeRange {
  const route = useRoute()
  const router = useRouter()
  const word = computed(() => {
    const asked = route.query['range']
    return typeof asked === 'string' && asked in RANGES ? asked : DEFAULT
  })
  function go(more: Record<string, string>): void {
    const { range: _range, from: _from, to: _to, ...others } = route.query
    void router.push({ query: { ...others, ...more }, hash: route.hash })
  }
  const asWord = (chosen: string): Record<string, string> => (chosen === DEFAULT ? {} : { range: chosen })
  return {
    rangeS: computed(() => RANGES[word.value] ?? 900),
    zoom: computed(() => readZoom(route.query['from'], route.query['to'])),
    choose: (chosen) => go(asWord(chosen)),
    zoomTo: ({ fromS, toS }) => {
      if (toS - fromS < LEAST_ZOOM_S) return
      go({ ...asWord(word.value), from: fromS.toFixed(0), to: toS.toFixed(0) })
    },
    zoomOut: () => go(asWord(word.value)),
  }
}
