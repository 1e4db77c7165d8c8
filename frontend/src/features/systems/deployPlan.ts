/** What a deploy would do on each node, and what is in the way. Pure; the server decides. */
import type { Instance, Manifest, Module, Node } from '@/api/types'
import { compareText } from '@/shared/collate'

export type Hindrance =
  'present' | 'wrong_os' | 'wrong_arch' | 'planned' | 'quarantined' | 'revoked' | 'paused' | 'draining'
export type Caution = 'offline' | 'outside'

export interface Candidate {
  node: Node
  hindrance: Hindrance | null
  cautions: Caution[]
}

function hindranceOf(node: Node, manifest: Manifest | undefined, isPresent: boolean): Hindrance | null {
  const { os = 'any', arch = 'any' } = manifest ?? {}
  if (isPresent) return 'present'
  if (node.revoked) return 'revoked'
  if (node.status === 'planned' || node.status === 'quarantined') return node.status
  if (node.paused) return 'paused'
  if (node.draining) return 'draining'
  if (os !== 'any' && node.os && os !== node.os) return 'wrong_os'
  if (arch !== 'any' && node.arch && arch !== node.arch) return 'wrong_arch'
  return null
}

function isInPlacement(node: Node, module: Module): boolean {
  return Object.entries(module.placement.labels ?? {}).every(([key, value]) => node.labels[key] === value)
}

/** Every node, those that can take it first. */
export function planDeploy(
  module: Module,
  manifest: Manifest | undefined,
  nodes: Iterable<Node>,
  instances: Iterable<Instance>,
): Candidate[] {
  const taken = new Set([...instances].filter((i) => i.module_id === module.id).map((i) => i.node_id))
  const candidates = [...nodes].map((node): Candidate => {
    const cautions: Caution[] = []
    if (node.status === 'offline' || node.status === 'suspect') cautions.push('offline')
    if (!isInPlacement(node, module)) cautions.push('outside')
    return { node, hindrance: hindranceOf(node, manifest, taken.has(node.id)), cautions }
  })
  const rank = ({ hindrance, cautions }: Candidate): number => (hindrance ? 10 : cautions.length)
  return candidates.sort((a, b) => rank(a) - rank(b) || compareText(a.node.name, b.node.name))
}
