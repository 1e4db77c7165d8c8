import { http, putBytes, urlOf, type Upload } from '@/api/http'
import type {
  Operation,
  Package,
  PackageDiff,
  PackagePatch,
  PackageUsage,
  PartialUpload,
  RetentionPolicy,
  RetentionPreview,
  RetentionView,
} from '@/api/types'

const pathOf = (name: string, version: string): string =>
  `/packages/${encodeURIComponent(name)}/${encodeURIComponent(version)}`

export const beginUpload = (sizeBytes: number): Promise<PartialUpload> =>
  http.post('/uploads', { size_bytes: sizeBytes })
export const readUpload = (id: string): Promise<PartialUpload> => http.get(`/uploads/${id}`)
export const sendPart = (
  id: string,
  offset: number,
  bytes: Blob,
  onBytes: (sent: number) => void,
): Upload<PartialUpload> => putBytes(`/uploads/${id}`, { offset }, bytes, 'application/octet-stream', onBytes)
export const completeUpload = (id: string): Promise<Package> => http.post(`/uploads/${id}/complete`, {})
export const abortUpload = (id: string): Promise<unknown> => http.delete(`/uploads/${id}`)

export const deletePackage = (name: string, version: string): Promise<unknown> =>
  http.delete(pathOf(name, version))
export const markPackage = (name: string, version: string, patch: PackagePatch): Promise<Package> =>
  http.patch(pathOf(name, version), patch)
export const readUsage = (name: string, version: string): Promise<PackageUsage> =>
  http.get(`${pathOf(name, version)}/usage`)
export const compareVersions = (name: string, version: string, against: string): Promise<PackageDiff> =>
  http.get(`${pathOf(name, version)}/diff`, { against })
export const downloadUrl = (name: string, version: string): string =>
  urlOf(`${pathOf(name, version)}/download`)

export const readRetention = (): Promise<RetentionView> => http.get('/package-retention')
export const saveRetention = (policy: RetentionPolicy): Promise<RetentionView> =>
  http.put('/package-retention', policy)
export const previewRetention = (versions: number | null, days: number | null): Promise<RetentionPreview> =>
  http.get('/package-retention/preview', { keep_versions: versions, keep_days: days })
export const runRetention = async (): Promise<Operation> =>
  (await http.post<{ operation: Operation }>('/package-retention/run')).operation
