/** One task, read again whenever the live link tells of it, and what can be done with it. */
import { computed, type ComputedRef } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRouter } from 'vue-router'
import { confirm } from '@/shared/confirm'
import { useAction, type Action } from '@/shared/useAction'
import { useResource, type Resource } from '@/shared/useResource'
import { endTask, getTask, removeTask, retryTask } from './api'
import { useNews, useThrottle, type Placed } from './live'
import { actsOf, type TaskAct } from './progress'
import type { Task } from './types'

const RELOAD_MS = 700

export function useTask(of: Placed): Resource<Task> {
  const found = useResource(() => getTask(of))
  useNews(
    'task',
    of,
    useThrottle(() => void found.reload(), RELOAD_MS),
  )
  return found
}

export interface TaskActs {
  possible: ComputedRef<TaskAct[]>
  run: Action<[act: Exclude<TaskAct, 'approve'>], void>
}

export function useTaskActs(task: ComputedRef<Task | null>, reload: () => Promise<void>): TaskActs {
  const { t } = useI18n()
  const router = useRouter()
  const run = useAction(async (act: Exclude<TaskAct, 'approve'>) => {
    const one = task.value
    if (!one) return
    const isSure = await confirm({
      title: t(`provisioning.ask.${act}`, { sn: one.sn }),
      text:
        one.status === 'installing' ? t('provisioning.cancelInstalling') : t(`provisioning.follows.${act}`),
      objects: [`${one.idc} / ${one.sn}`],
      button: t(`provisioning.act.${act}`),
      isDangerous: act !== 'retry',
    })
    if (!isSure) return
    if (act === 'remove') {
      await removeTask(one)
      await router.push('/provisioning/tasks')
      return
    }
    if (act === 'retry') await retryTask(one)
    else await endTask(one, act, '')
    await reload()
  })
  return { possible: computed(() => (task.value ? actsOf(task.value) : [])), run }
}
