import { describe, expect, it } from 'vitest'
import type { Node, Package } from '@/api/types'
import { obstacleOf, workerPackages } from '@/features/nodes/versions'

const program = (name: string, version: string, os = 'linux', arch = 'amd64'): Package =>
  ({ name, version, manifest: { os, arch } }) as unknown as Package
const node = (more: Partial<Node>): Node =>
  ({ status: 'online', revoked: false, os: 'linux', arch: 'amd64', worker_version: '0.1.0', ...more }) as Node

describe('versions of the worker', () => {
  it('are the reserved packages, the newest first', () => {
    const all = [
      program('ops-worker', '0.9.0'),
      program('ops-worker', '0.10.0-rc1'),
      program('web', '3.0.0'),
      program('ops-worker-arm64', '0.10.0'),
      program('ops-workers', '9.0.0'),
    ]
    expect(workerPackages(all).map(({ version }) => version)).toEqual(['0.10.0', '0.10.0-rc1', '0.9.0'])
  })
  it('are for nodes of their platform that run another one and can be reached', () => {
    expect(obstacleOf(node({}), program('ops-worker', '0.2.0'))).toBe('')
    expect(obstacleOf(node({}), program('ops-worker', '0.2.0', 'linux', 'any'))).toBe('')
    expect(obstacleOf(node({ arch: 'arm64' }), program('ops-worker', '0.2.0'))).toBe('platform')
    expect(obstacleOf(node({ worker_version: '0.2.0' }), program('ops-worker', '0.2.0'))).toBe('same')
    expect(obstacleOf(node({ revoked: true }), program('ops-worker', '0.2.0'))).toBe('away')
    expect(obstacleOf(node({ status: 'planned' }), program('ops-worker', '0.2.0'))).toBe('away')
  })
})
