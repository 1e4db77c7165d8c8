/** Plays a recording into a screen: play, pause, seek, speed. */
import { onScopeDispose, ref, shallowRef, watch, type Ref } from 'vue'
import { actsOf, countUntil, type Cast } from './cast'

/** The part of xterm that a player needs. */
export interface PlayScreen {
  write: (text: string) => void
  resize: (cols: number, rows: number) => void
  reset: () => void
}

export interface Player {
  isPlaying: Ref<boolean>
  positionS: Ref<number>
  speed: Ref<number>
  load: (cast: Cast) => void
  toggle: () => void
  seek: (seconds: number) => void
}

export function usePlayer(screen: PlayScreen): Player {
  const cast = shallowRef<Cast | null>(null)
  const isPlaying = ref(false)
  const positionS = ref(0)
  const speed = ref(1)
  let shown = 0
  let frame = 0
  let lastMs = 0

  function show(until: number): void {
    for (const act of actsOf(cast.value?.events.slice(shown, until) ?? [])) {
      if ('write' in act) screen.write(act.write)
      else screen.resize(act.cols, act.rows)
    }
    shown = until
  }

  /** Backwards means from the beginning: a screen cannot be unwritten. */
  function seek(seconds: number): void {
    if (!cast.value) return
    const at = Math.min(Math.max(0, seconds), cast.value.durationS)
    const until = countUntil(cast.value.events, at)
    if (until < shown) {
      screen.reset()
      screen.resize(cast.value.cols, cast.value.rows)
      shown = 0
    }
    positionS.value = at
    show(until)
  }

  function step(nowMs: number): void {
    seek(positionS.value + ((nowMs - lastMs) / 1000) * speed.value)
    lastMs = nowMs
    if (positionS.value >= (cast.value?.durationS ?? 0)) isPlaying.value = false
    else frame = requestAnimationFrame(step)
  }

  watch(isPlaying, (plays) => {
    cancelAnimationFrame(frame)
    if (!plays) return
    lastMs = performance.now()
    frame = requestAnimationFrame(step)
  })
  onScopeDispose(() => cancelAnimationFrame(frame))

  return {
    isPlaying,
    positionS,
    speed,
    load: (next) => {
      cast.value = next
      shown = 0
      screen.reset()
      screen.resize(next.cols, next.rows)
      seek(positionS.value)
    },
    toggle: () => {
      if (!isPlaying.value && positionS.value >= (cast.value?.durationS ?? 0)) seek(0)
      isPlaying.value = !isPlaying.value
    },
    seek,
  }
}
