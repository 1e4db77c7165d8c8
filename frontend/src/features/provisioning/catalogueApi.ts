import { http, putBytes, urlOf, type Query, type Upload } from '@/api/http'
import type { Page, PartialUpload } from '@/api/types'
import type {
  Image,
  ImageFacts,
  NewProfile,
  Preview,
  Profile,
  Release,
  TemplateLanguage,
} from './catalogueTypes'

type Named = Pick<Image, 'name' | 'version'>
const pathOf = ({ name, version }: Named): string =>
  `/images/${encodeURIComponent(name)}/${encodeURIComponent(version)}`
const profileOf = (name: string): string => `/profiles/${encodeURIComponent(name)}`

export const listReleases = (): Promise<Page<Release>> => http.get('/os-catalogue')

export const listImages = (query: Query): Promise<Page<Image>> => http.get('/images', query)
export const removeImage = (image: Named): Promise<unknown> => http.delete(pathOf(image))
export const contentUrl = (image: Named): string => urlOf(`${pathOf(image)}/download`)
export const beginUpload = (sizeBytes: number): Promise<PartialUpload> =>
  http.post('/uploads', { size_bytes: sizeBytes })
export const readUpload = (id: string): Promise<PartialUpload> => http.get(`/uploads/${id}`)
export const abortUpload = (id: string): Promise<unknown> => http.delete(`/uploads/${id}`)
export const sendPart = (
  id: string,
  offset: number,
  bytes: Blob,
  onBytes: (sent: number) => void,
): Upload<PartialUpload> => putBytes(`/uploads/${id}`, { offset }, bytes, 'application/octet-stream', onBytes)
export const imageOfUpload = (id: string, facts: ImageFacts): Promise<Image> =>
  http.post('/images/from-upload', { upload_id: id, ...facts })

export const readLanguage = (): Promise<TemplateLanguage> => http.get('/install-templates')
export const listProfiles = (query: Query): Promise<Page<Profile>> => http.get('/profiles', query)
export const getProfile = (name: string): Promise<Profile> => http.get(profileOf(name))
export const createProfile = (profile: NewProfile): Promise<Profile> => http.post('/profiles', profile)
export const changeProfile = (profile: NewProfile, ifVersion: number): Promise<Profile> =>
  http.put(profileOf(profile.name), { ...profile, if_version: ifVersion })
export const removeProfile = (name: string): Promise<unknown> => http.delete(profileOf(name))
export const listVersions = (name: string): Promise<Page<Profile>> => http.get(`${profileOf(name)}/versions`)
export const rollBack = (name: string, version: number): Promise<Profile> =>
  http.post(`${profileOf(name)}/rollback`, { version })
export const previewProfile = (profile: NewProfile, idc: string, sn: string): Promise<Preview> =>
  http.post('/profiles/preview', { profile, idc, sn })
