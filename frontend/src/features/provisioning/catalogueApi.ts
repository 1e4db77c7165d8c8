import { http, type Query } from '@/api/http'
import type { Page } from '@/api/types'
import type { Image, Profile, Release } from './catalogueTypes'

export const listReleases = (): Promise<Page<Release>> => http.get('/os-catalogue')
export const listImages = (query: Query): Promise<Page<Image>> => http.get('/images', query)
export const listProfiles = (query: Query): Promise<Page<Profile>> => http.get('/profiles', query)
