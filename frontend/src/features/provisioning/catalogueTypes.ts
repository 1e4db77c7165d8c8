/** Images, profiles and the systems they make, as the API tells them. */
import type { DiskLayout, NetworkConfig } from './types'

export const IMAGE_FORMATS = ['raw', 'raw.gz', 'raw.zst', 'tar.gz', 'tar.zst', 'kernel', 'initrd'] as const
export type ImageFormat = (typeof IMAGE_FORMATS)[number]

export const METHODS = [
  'image',
  'debootstrap',
  'kickstart',
  'preseed',
  'autoinstall',
  'hardware_test',
  'rescue',
] as const
export type Method = (typeof METHODS)[number]

export interface Release {
  os_type: string
  os_version: string
  family: string
  methods: string[]
}

export interface Image {
  name: string
  version: string
  format: ImageFormat
  sha256: string
  size_bytes: number
  content_sha256: string
  content_bytes: number
  created_at: string
  created_by: string
  os_type: string
  os_version: string
  arch: 'amd64' | 'arm64'
  note: string
  signature: string
  key_id: string
}

export type ImageFacts = Pick<
  Image,
  'name' | 'version' | 'format' | 'os_type' | 'os_version' | 'arch' | 'note' | 'sha256' | 'signature'
>

export interface NewProfile {
  name: string
  method: Method
  os_type: string
  os_version: string
  image: string
  kernel: string
  initrd: string
  kernel_args: string
  template: string
  values: Record<string, string>
  disk_layout: DiskLayout | null
  network: NetworkConfig | null
  packages: string[]
  ssh_keys: string[]
  hardware_tests: ('memory' | 'disk' | 'nic')[]
  enrol: boolean
  note: string
}

export interface Profile extends NewProfile {
  version: number
  changed_at: string
  changed_by: string
}

export interface Preview {
  text: string
  problems: { line: number; message: string }[]
  is_sample: boolean
}
