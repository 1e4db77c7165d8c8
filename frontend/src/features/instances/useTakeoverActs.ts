/** What only some instances know: a reload, and for those taken over the way back out of care. */
import { shallowRef, type ComputedRef, type ShallowRef } from 'vue'
import { useI18n } from 'vue-i18n'
import type { Instance, Operation, Reloaded } from '@/api/types'
import { confirm } from '@/shared/confirm'
import { useAction, type Action } from '@/shared/useAction'
import { releaseInstance, reloadInstance } from './api'

export interface TakeoverActs {
  release: Action<[], void>
  reload: Action<[], void>
  /** What the reload command answered last. */
  reloaded: ShallowRef<Reloaded | null>
  /** The release under way, with the process that goes on. */
  released: ShallowRef<{ operation: Operation; pid: number | null; nodeId: string } | null>
}

export function useTakeoverActs(
  instance: ComputedRef<Instance | undefined>,
  nameOf: (instance: Instance) => string,
): TakeoverActs {
  const { t } = useI18n()
  const reloaded: TakeoverActs['reloaded'] = shallowRef(null)
  const released: TakeoverActs['released'] = shallowRef(null)

  const release = useAction(async () => {
    const one = instance.value
    if (!one) return
    const isSure = await confirm({
      title: t('takeover.releaseTitle', { name: nameOf(one) }),
      text: one.pid ? t('takeover.releaseText', { pid: one.pid }) : t('takeover.releaseIdle'),
      button: t('takeover.release'),
    })
    if (!isSure) return
    const { operation } = await releaseInstance(one.id)
    released.value = { operation, pid: one.pid, nodeId: one.node_id }
  })
  const reload = useAction(async () => {
    const one = instance.value
    if (!one) return
    const isSure = await confirm({
      title: t('takeover.reloadTitle', { name: nameOf(one) }),
      text: t('takeover.reloadText'),
      button: t('takeover.reload'),
    })
    if (!isSure) return
    reloaded.value = null
    reloaded.value = await reloadInstance(one.id)
  })
  return { release, reload, reloaded, released }
}
