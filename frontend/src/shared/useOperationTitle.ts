/** What an operation does to what, in the person's language: its kind, then the names of what it works on. */
import { useI18n } from 'vue-i18n'
import type { Operation, OperationTarget } from '@/api/types'
import { useCollection } from '@/stores/live'
import { useWords } from './words'

const NAMED = 2

/** `web @ n3, db @ n1` and how many more there are. Pure. */
export function nameTargets(
  targets: OperationTarget[],
  nodeName: (id: string) => string,
): { names: string; more: number } {
  const names = targets
    .slice(0, NAMED)
    .map(({ kind, name, node_id }) => (node_id && kind !== 'node' ? `${name} @ ${nodeName(node_id)}` : name))
  return { names: names.join(', '), more: Math.max(0, targets.length - NAMED) }
}

export function useOperationTitle(): (operation: Operation | null | undefined) => string {
  const { t } = useI18n()
  const words = useWords()
  const nodes = useCollection('nodes')
  const instances = useCollection('instances')
  const systems = useCollection('systems')
  const nodeName = (id: string): string => nodes.byId.value.get(id)?.name ?? id

  /** The system whose instances the targets are, while one of them and it are known. */
  function systemOf(targets: OperationTarget[]): string | undefined {
    const known = targets.map(({ id }) => instances.byId.value.get(id)).find((one) => one !== undefined)
    return known && systems.byId.value.get(known.system_id)?.name
  }

  /** The node that is drained or taken back; without targets only the server's title names it ("Drain n3"). */
  function nodeOf({ title, targets }: Operation): string {
    const id = targets.find(({ node_id }) => node_id)?.node_id
    return id ? nodeName(id) : title.slice(title.indexOf(' ') + 1)
  }

  function objectsOf(operation: Operation): string {
    const { kind, title, targets } = operation
    if (kind === 'node.drain' || kind === 'node.undrain') return nodeOf(operation)
    if (kind.startsWith('exec.')) return title
    const system = kind.startsWith('system.') ? systemOf(targets) : undefined
    if (system !== undefined) return system
    const { names, more } = nameTargets(targets, nodeName)
    return more > 0 ? `${names} ${t('common.andMore', { count: more })}` : names
  }
  return (operation) =>
    operation ? `${words.operationKind(operation.kind)} ${objectsOf(operation)}`.trim() : ''
}
