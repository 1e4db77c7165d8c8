/** The series of one node or instance: a snapshot of the last 15 minutes, then a moment a second. */
import { ref, shallowRef, type Ref, type ShallowRef } from 'vue'
import type { Series } from '@/api/types'
import { useTopic } from '@/stores/live'
import { appendMoment } from './series'

export const KEEP_S = 15 * 60

export interface LiveSeries {
  series: ShallowRef<Series>
  isReady: Ref<boolean>
}

export function useLiveSeries(topic: string): LiveSeries {
  const series = shallowRef<Series>({})
  const isReady = ref(false)
  useTopic(topic, (frame) => {
    if (frame.type === 'snapshot') {
      const part = (frame.data as { series?: Series }).series ?? {}
      series.value = frame.part > 0 ? { ...series.value, ...part } : part
      isReady.value = true
    } else if (frame.type === 'change') {
      const { at_s: atS, values } = frame.data as { at_s: number; values: Record<string, number | null> }
      series.value = appendMoment(series.value, atS, values, KEEP_S)
    }
  })
  return { series, isReady }
}
