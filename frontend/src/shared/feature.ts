/** What a feature says about itself to the frame; `features/index.ts` lists them. */
import type { ComputedRef, InjectionKey } from 'vue'
import type { RouteRecordRaw } from 'vue-router'
import type { Permission } from '@/api/types'
import type { IconName } from './icons'
import type { KeyId } from './keymap'

/** One line of the palette. */
export interface Command {
  /** Starts with what it does, in English (`restart-…`), and is the same at each visit. */
  id: string
  title: string
  /** What kind of thing it is: a page, a node, an action. */
  group: 'pages' | 'nodes' | 'systems' | 'instances' | 'actions'
  /** The keys that do the same, as the keymap writes them. */
  keys?: string
  run: () => unknown
}

export interface Feature {
  name: string
  routes: RouteRecordRaw[]
  /** Its place in the rail. */
  nav?: { path: string; icon: IconName; key: KeyId; permission?: Permission }
  /** Called in the palette's setup: what it subscribes lives as long as the palette is open. */
  useCommands?: () => ComputedRef<Command[]>
}

export const FEATURES: InjectionKey<Feature[]> = Symbol('features')

/** True where a person of these powers has the feature's page in the rail, among the keys and in the palette. */
export function isOffered({ nav }: Feature, may: (permission: Permission) => boolean): boolean {
  return nav !== undefined && (nav.permission === undefined || may(nav.permission))
}

declare module 'vue-router' {
  interface RouteMeta {
    /** The feature whose rail entry is lit and whose name starts the breadcrumb. */
    feature?: string
    /** Shown without the frame and without a session. */
    isPublic?: boolean
  }
}
