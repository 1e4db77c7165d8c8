/** How sound a backup is, as far as somebody has looked. Pure. */
import type { Backup } from '@/api/types'

export type BackupLook = 'damaged' | 'verified' | 'unverified'

export function lookOf({ problem, verified_at }: Backup): BackupLook {
  if (problem) return 'damaged'
  return verified_at ? 'verified' : 'unverified'
}
