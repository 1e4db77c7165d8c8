/** Which terminals are open, which one has the keys, and which two stand side by side. */
import { computed, ref, type ComputedRef, type Ref } from 'vue'
import type { OpenTab } from './words'

export interface Tab extends OpenTab {
  key: number
  user: string
  isReadOnly: boolean
  isRecorded: boolean
  title: string
}

export type Split = '' | 'columns' | 'rows'

export interface Tabs {
  tabs: Ref<Tab[]>
  /** The key of the tab that is typed into. */
  front: Ref<number>
  /** The keys of those that can be seen, from left to right. */
  shown: ComputedRef<number[]>
  current: ComputedRef<Tab | undefined>
  add: (tab: OpenTab & Partial<Tab>) => void
  close: (key: number) => void
  /** A new session in the place of one that has ended. */
  renew: (key: number) => void
  choose: (key: number) => void
}

let nextKey = 1
const make = (one: OpenTab & Partial<Tab>): Tab => ({
  user: '',
  isReadOnly: false,
  isRecorded: false,
  title: '',
  ...one,
  key: nextKey++,
})

export function useTabs(open: OpenTab[], split: Ref<Split>): Tabs {
  const tabs = ref<Tab[]>(open.map(make))
  const front = ref(tabs.value.at(-1)?.key ?? 0)
  /** The one beside the front; when it is gone, a neighbour. */
  const beside = ref(tabs.value.at(-2)?.key ?? 0)

  const indexOf = (key: number): number => tabs.value.findIndex((tab) => tab.key === key)
  const shown = computed(() => {
    if (split.value === '') return [front.value]
    const other =
      beside.value !== front.value && indexOf(beside.value) >= 0
        ? beside.value
        : tabs.value.filter(({ key }) => key !== front.value).at(-1)?.key
    const keys = other === undefined ? [front.value] : [front.value, other]
    return keys.sort((a, b) => indexOf(a) - indexOf(b))
  })

  /** The one that was typed into stays in sight, unless the chosen one is in sight already. */
  function choose(key: number): void {
    if (key === front.value) return
    beside.value = front.value
    front.value = key
  }

  function close(key: number): void {
    const at = indexOf(key)
    const left = shown.value.filter((one) => one !== key)
    tabs.value.splice(at, 1)
    if (front.value !== key) return
    front.value = (split.value ? left[0] : undefined) ?? (tabs.value[at] ?? tabs.value[at - 1])?.key ?? 0
  }

  function renew(key: number): void {
    const at = indexOf(key)
    const old = tabs.value[at]
    if (!old) return
    const fresh = make({ ...old, session: '', title: '' })
    tabs.value.splice(at, 1, fresh)
    if (front.value === key) front.value = fresh.key
    if (beside.value === key) beside.value = fresh.key
  }

  return {
    tabs,
    front,
    shown,
    current: computed(() => tabs.value[indexOf(front.value)]),
    add: (one) => {
      const tab = make(one)
      tabs.value.push(tab)
      choose(tab.key)
    },
    close,
    renew,
    choose,
  }
}
