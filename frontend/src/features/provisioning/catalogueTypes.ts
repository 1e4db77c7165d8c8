/** Images, profiles and the systems they make, as the API tells them. */
import type { DiskLayout, NetworkConfig } from './types'

export interface Release {
  os_type: string
  os_version: string
  family: string
  methods: string[]
}

export interface Image {
  name: string
  version: string
  os_type: string
  os_version: string
  arch: string
  format: string
  sha256: string
  size_bytes: number
  content_sha256: string
  content_bytes: number
  signature: string
  key_id: string
  created_at: string
  created_by: string
}

export interface Profile {
  name: string
  version: number
  os_type: string
  os_version: string
  method: string
  image: string
  disk_layout: DiskLayout | null
  network: NetworkConfig | null
  packages: string[]
  template: string
  updated_at: string
  updated_by: string
}
