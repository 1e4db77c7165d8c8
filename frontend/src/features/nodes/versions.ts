/** Which programs of the worker the catalogue has, and for which nodes each is. Pure; the server has the last word. */
import type { Node, Package } from '@/api/types'
import { compareText } from '@/shared/collate'
import { compareVersion } from '@/shared/versions'

const RESERVED = /^ops-worker(-.*)?$/

/** The newest first. */
export function workerPackages(packages: Iterable<Package>): Package[] {
  return [...packages]
    .filter(({ name }) => RESERVED.test(name))
    .sort((a, b) => compareVersion(b.version, a.version) || compareText(a.name, b.name))
}

/** Why this node would not take it: it runs this version, or its machine is another kind. Empty: it would. */
export function obstacleOf(node: Node, { version, manifest }: Package): '' | 'same' | 'platform' | 'away' {
  if (node.status === 'planned' || node.revoked) return 'away'
  if (node.worker_version === version) return 'same'
  const fits = (wanted: string, has: string): boolean => wanted === 'any' || wanted === has
  return fits(manifest.os, node.os) && fits(manifest.arch, node.arch) ? '' : 'platform'
}
