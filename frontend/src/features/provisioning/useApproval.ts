/** The decision on one machine: what it was when the page was opened, which disks, and what came in between. */
import { computed, ref, shallowRef, watch, type ComputedRef, type Ref, type ShallowRef } from 'vue'
import { ApiError } from '@/api/http'
import { useAction, type Action } from '@/shared/useAction'
import { useResource } from '@/shared/useResource'
import { approveTask, getMachine, listIdcs } from './api'
import {
  choicesOf,
  differencesOf,
  disksWanted,
  firstChoice,
  sharedSignatures,
  type Difference,
  type DiskChoice,
} from './disks'
import { useNews, useThrottle, type Placed } from './live'
import type { Machine, Task } from './types'
import { useTask } from './useTask'

export interface Approval {
  task: ComputedRef<Task | null>
  /** The inventory that is decided on: it stays as it was shown until the person takes the newer one. */
  machine: ShallowRef<Machine | null>
  differences: ComputedRef<Difference[]>
  isStale: ComputedRef<boolean>
  takeNewer: () => void
  choices: ComputedRef<DiskChoice[]>
  wanted: ComputedRef<number>
  chosen: Ref<string[]>
  /** Chosen disks that belong to another cluster: they have to be named once more. */
  foreign: ComputedRef<DiskChoice[]>
  isForeignSure: Ref<boolean>
  typed: Ref<string>
  notes: Ref<string>
  needsSecond: ComputedRef<boolean>
  canApprove: ComputedRef<boolean>
  approve: Action<[], Task | undefined>
  error: ComputedRef<unknown>
  reload: () => Promise<void>
}

const RELOAD_MS = 700

function useMachine(of: Placed): {
  shown: ShallowRef<Machine | null>
  newest: ShallowRef<Machine | null>
  error: ShallowRef<unknown>
  reload: () => Promise<void>
  takeNewer: () => void
} {
  const found = useResource(() => getMachine(of))
  const shown = shallowRef<Machine | null>(null)
  useNews(
    'machine',
    of,
    useThrottle(() => void found.reload(), RELOAD_MS),
  )
  watch(found.data, (machine) => {
    const isSame = shown.value?.inventory_hash === machine?.inventory_hash
    if (shown.value === null || isSame) shown.value = machine
  })
  const takeNewer = (): void => void (shown.value = found.data.value)
  return { shown, newest: found.data, error: found.error, reload: found.reload, takeNewer }
}

interface Decision {
  choices: ComputedRef<DiskChoice[]>
  wanted: ComputedRef<number>
  chosen: Ref<string[]>
  foreign: ComputedRef<DiskChoice[]>
  isForeignSure: Ref<boolean>
  typed: Ref<string>
  isComplete: ComputedRef<boolean>
}

/** Which disks, and the serial number in writing; another inventory or task begins anew. */
function useDecision(
  sn: string,
  task: ComputedRef<Task | null>,
  machine: ShallowRef<Machine | null>,
  guarded: ComputedRef<string[]>,
): Decision {
  const chosen = ref<string[]>([])
  const isForeignSure = ref(false)
  const typed = ref('')
  const choices = computed(() =>
    machine.value && task.value ? choicesOf(machine.value, task.value.install, guarded.value) : [],
  )
  const wanted = computed(() => (task.value ? disksWanted(task.value.install) : 1))
  const foreign = computed(() =>
    choices.value.filter(({ id, disk }) => chosen.value.includes(id) && sharedSignatures(disk).length > 0),
  )
  const subject = (): string =>
    [machine.value?.inventory_hash, task.value?.task_id, task.value?.attempt, ...guarded.value].join()
  watch(subject, () => {
    chosen.value = firstChoice(choices.value, wanted.value)
    typed.value = ''
    isForeignSure.value = false
  })
  const isComplete = computed(
    () =>
      chosen.value.length === wanted.value &&
      (foreign.value.length === 0 || isForeignSure.value) &&
      typed.value === sn,
  )
  return { choices, wanted, chosen, foreign, isForeignSure, typed, isComplete }
}

export function useApproval(of: Placed): Approval {
  const found = useTask(of)
  const idcs = useResource(listIdcs)
  const { shown, newest, error, reload, takeNewer } = useMachine(of)
  const notes = ref('')
  const task = computed(() => found.data.value)
  const settings = computed(() => idcs.data.value?.items.find(({ idc }) => idc === of.idc)?.settings)
  const guarded = computed(() => settings.value?.protected_serials ?? [])
  const { isComplete, ...decision } = useDecision(of.sn, task, shown, guarded)
  const isStale = computed(() => shown.value?.inventory_hash !== newest.value?.inventory_hash)
  const approve = useAction(async () => {
    try {
      return await approveTask(of, {
        disks: decision.chosen.value,
        inventory_hash: shown.value?.inventory_hash ?? '',
        notes: notes.value,
        overwrite_foreign: decision.foreign.value.map(({ id }) => id),
      })
    } catch (problem) {
      // The machine, or what may be done with it, is another one than was shown: show that beside the refusal.
      if (problem instanceof ApiError && problem.status === 409) await Promise.all([reload(), found.reload()])
      throw problem
    }
  })
  return {
    ...decision,
    task,
    machine: shown,
    differences: computed(() =>
      shown.value && newest.value ? differencesOf(shown.value, newest.value) : [],
    ),
    isStale,
    takeNewer,
    notes,
    needsSecond: computed(() => settings.value?.needs_second_approval ?? false),
    canApprove: computed(
      () => task.value?.status === 'pending_approval' && !isStale.value && isComplete.value,
    ),
    approve,
    error: computed(() => found.error.value ?? error.value),
    reload: async () => void (await Promise.all([found.reload(), reload()])),
  }
}
