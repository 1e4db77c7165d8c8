/** Images, profiles and the systems they make, by their short names. */
import type { components } from '@/api/schema'

type Schemas = components['schemas']

export type Image = Schemas['Image']
export type ImageFormat = Image['format']
export const IMAGE_FORMATS = [
  'raw',
  'raw.gz',
  'raw.zst',
  'tar.gz',
  'tar.zst',
  'kernel',
  'initrd',
] as const satisfies ImageFormat[]
export type ImageFacts = Pick<
  Image,
  'name' | 'version' | 'format' | 'os_type' | 'os_version' | 'arch' | 'note' | 'sha256' | 'signature'
>

export type NewProfile = Schemas['NewProfile']
export type Profile = Schemas['Profile']
export type Method = Profile['method']
export const METHODS = [
  'image',
  'debootstrap',
  'kickstart',
  'preseed',
  'autoinstall',
  'hardware_test',
  'rescue',
] as const satisfies Method[]
export type Release = Schemas['Release']
export type Preview = Schemas['ProfileText']
/** The product's own templates, and what may stand in one. */
export type TemplateLanguage = Schemas['TemplateLanguage']
