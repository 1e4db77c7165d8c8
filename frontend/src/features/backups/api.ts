import { http, putBytes, urlOf, type Query, type Upload } from '@/api/http'
import type {
  Backup,
  BackupPage,
  BackupSettings,
  BackupSettingsChange,
  NewBackup,
  Operation,
  Restored,
} from '@/api/types'

interface Begun {
  operation: Operation
}

const pathOf = (name: string): string => `/backups/${encodeURIComponent(name)}`

export const listBackups = (query: Query): Promise<BackupPage> => http.get('/backups', query)
export const createBackup = async (order: NewBackup): Promise<Operation> =>
  (await http.post<Begun>('/backups', order)).operation
export const verifyBackup = async (name: string, passphrase: string): Promise<Operation> =>
  (await http.post<Begun>(`${pathOf(name)}/verify`, { passphrase })).operation
export const restoreBackup = async (
  name: string,
  order: { confirm: string; passphrase: string; artefacts: boolean },
): Promise<Operation> => (await http.post<Begun>(`${pathOf(name)}/restore`, order)).operation
export const deleteBackup = (name: string): Promise<unknown> => http.delete(pathOf(name))
export const downloadUrl = (name: string): string => urlOf(`${pathOf(name)}/download`)
/** Ask for the proof a download wants, before the browser goes there by itself. */
export const proveDownload = (name: string): Promise<void> => http.touch(`${pathOf(name)}/download`)
export const uploadBackup = (file: Blob, onBytes: (sent: number) => void): Upload<Backup> =>
  putBytes('/backups/upload', {}, file, 'application/octet-stream', onBytes)
export const readSettings = (): Promise<BackupSettings> => http.get('/backups/settings')
export const saveSettings = (change: BackupSettingsChange): Promise<BackupSettings> =>
  http.put('/backups/settings', change)
export const readRestored = (): Promise<Restored> => http.get('/backups/restored')
