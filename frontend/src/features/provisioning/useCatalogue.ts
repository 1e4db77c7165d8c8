/** What can be installed: operating systems, profiles and images, as choices of forms. */
import { computed, type ComputedRef, type Ref } from 'vue'
import { useResource } from '@/shared/useResource'
import { listImages, listProfiles, listReleases } from './catalogueApi'
import type { Image, Profile } from './catalogueTypes'

export interface Catalogue {
  types: ComputedRef<string[]>
  versionsOf: (osType: string) => string[]
  methodsOf: (osType: string, osVersion: string) => string[]
  profilesFor: (osType: string, osVersion: string) => string[]
  images: ComputedRef<Image[]>
  /** True where the system is written from an image and none is there. */
  lacksImage: (osType: string, osVersion: string) => boolean
  error: Ref<unknown>
}

const ALL = { limit: 500 }

export function useCatalogue(): Catalogue {
  const found = useResource(async () => {
    const [releases, images, profiles] = await Promise.all([
      listReleases(),
      listImages(ALL),
      listProfiles(ALL),
    ])
    return { releases: releases.items, images: images.items, profiles: profiles.items }
  })
  const releases = computed(() => found.data.value?.releases ?? [])
  const profiles = computed<Profile[]>(() => found.data.value?.profiles ?? [])
  const images = computed<Image[]>(() => found.data.value?.images ?? [])
  const fits = (one: { os_type: string; os_version: string }, type: string, version: string): boolean =>
    one.os_type === type && (version === '' || one.os_version === '' || one.os_version === version)
  const profilesFor = (type: string, version: string): string[] =>
    profiles.value.filter((one) => fits(one, type, version)).map(({ name }) => name)
  return {
    types: computed(() => [...new Set(releases.value.map(({ os_type }) => os_type))]),
    versionsOf: (type) =>
      releases.value
        .filter(({ os_type }) => os_type === type)
        .map(({ os_version }) => os_version)
        .reverse(),
    methodsOf: (type, version) => releases.value.find((one) => fits(one, type, version))?.methods ?? [],
    profilesFor,
    images,
    lacksImage: (type, version) =>
      found.data.value !== null &&
      type !== '' &&
      profilesFor(type, version).length === 0 &&
      !images.value.some((one) => fits(one, type, version)),
    error: found.error,
  }
}
