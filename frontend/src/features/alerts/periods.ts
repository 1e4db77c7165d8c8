/** Periods of a back-test as pieces of a bar and as marks of a chart. Pure. */
import type { BacktestSubject } from '@/api/types'
import type { Mark } from '@/shared/charts/marks'
import type { Span } from '@/shared/charts/series'

type Period = BacktestSubject['periods'][number]

/** Where on a bar of the whole span a period lies. */
export function placeOf({ from, to }: Period, { fromS, toS }: Span): { left: string; width: string } {
  const whole = Math.max(1, toS - fromS)
  const share = (seconds: number): string => `${((100 * seconds) / whole).toFixed(3)}%`
  return { left: share(from - fromS), width: share(to - from) }
}

/** When it would have fired, and when that would have ended, unless it goes on to the end of the test. */
export function marksOf(
  subject: BacktestSubject | null,
  endS: number,
  textOf: (state: Period['state']) => string,
): Mark[] {
  return (subject?.periods ?? [])
    .filter(({ state }) => state !== 'pending')
    .flatMap(({ state, from, to }): Mark[] => [
      { at: from, tone: state === 'firing' ? 'bad' : 'unknown', text: textOf(state) },
      ...(to < endS ? [{ at: to, tone: 'ok' as const, text: textOf('resolved') }] : []),
    ])
}
