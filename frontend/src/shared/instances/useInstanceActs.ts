/** Do something to instances: ask first where it hurts, remember what is under way and what was refused. */
import { reactive } from 'vue'
import { useI18n } from 'vue-i18n'
import type { Instance } from '@/api/types'
import { confirm } from '../confirm'
import { actOnInstance, destroyInstance } from './api'
import { cautionsOf, type Act } from './rules'

export interface InstanceActs {
  /** Act on one or many; `nameOf` spells them in the question. */
  perform: (act: Act, instances: Instance[], nameOf: (instance: Instance) => string) => Promise<void>
  busy: Map<string, Act>
  problems: Map<string, unknown>
}

/** Acts that stop something people may be using. */
const ASKED: Act[] = ['stop', 'restart', 'kill', 'destroy']

export function useInstanceActs(): InstanceActs {
  const { t } = useI18n()
  const busy = reactive(new Map<string, Act>())
  const problems = reactive(new Map<string, unknown>())

  /** What follows, with what is different for those that others started. */
  const followsOf = (act: Act, instances: Instance[]): string =>
    [
      t(`act.follows.${act}`),
      ...cautionsOf(act, instances).map((caution) => t(`act.adopted.${caution}`)),
    ].join(' ')

  async function one(act: Act, id: string): Promise<void> {
    busy.set(id, act)
    problems.delete(id)
    try {
      await (act === 'destroy' ? destroyInstance(id) : actOnInstance(id, act))
    } catch (problem) {
      problems.set(id, problem)
    } finally {
      busy.delete(id)
    }
  }

  async function perform(act: Act, instances: Instance[], nameOf: (i: Instance) => string): Promise<void> {
    const objects = instances.map(nameOf)
    const isAgreed =
      !ASKED.includes(act) ||
      (await confirm({
        title:
          t(`act.${act}`) +
          ' ' +
          (objects.length === 1 ? objects[0] : t('act.count', { count: objects.length })),
        text: followsOf(act, instances),
        objects: objects.length > 1 ? objects : undefined,
        button: t(`act.${act}`),
        isDangerous: act !== 'restart',
      }))
    if (isAgreed) await Promise.all(instances.map(({ id }) => one(act, id)))
  }

  return { perform, busy, problems }
}
