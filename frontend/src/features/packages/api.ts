import { http, upload, urlOf, type Upload } from '@/api/http'
import type { Package } from '@/api/types'

const pathOf = (name: string, version: string): string =>
  `/packages/${encodeURIComponent(name)}/${encodeURIComponent(version)}`

export const uploadPackage = (file: File, onBytes: (sent: number) => void): Upload<Package> =>
  upload('/packages', file, 'application/zip', onBytes)
export const deletePackage = (name: string, version: string): Promise<unknown> =>
  http.delete(pathOf(name, version))
export const downloadUrl = (name: string, version: string): string =>
  urlOf(`${pathOf(name, version)}/download`)
