/** Keeps what is chosen in sight where a row of entries is wider than the screen. */
import { watch, type Ref } from 'vue'

/** After each change of `chosen`, scroll `row` sideways so that the entry that fits `selector` stands in its middle. */
export function useInView(
  row: Readonly<Ref<HTMLElement | null>>,
  selector: string,
  chosen: () => unknown,
): void {
  watch(
    [row, chosen],
    () => {
      const entry = row.value?.querySelector(selector)
      if (!row.value || !entry) return
      const outer = row.value.getBoundingClientRect()
      const inner = entry.getBoundingClientRect()
      row.value.scrollLeft += inner.left + inner.width / 2 - (outer.left + outer.width / 2)
    },
    { flush: 'post', immediate: true },
  )
}
