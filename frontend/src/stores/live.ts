/** What the server tells by itself: collections by id, gauges and series. Pages read it; nobody copies it. */
import { defineStore } from 'pinia'
import { markRaw, onScopeDispose, reactive, shallowRef, triggerRef, type ShallowRef } from 'vue'
import { socketUrlOf } from '@/api/http'
import { LiveLink, type Frame, type LinkState, type SocketLike } from '@/api/live'
import type { Alert, Instance, Module, Node, Operation, Package, System } from '@/api/types'

export interface Collections {
  nodes: Node
  instances: Instance
  operations: Operation
  systems: System
  modules: Module
  packages: Package
  alerts: Alert
}

/** One topic's objects by id, in the order of arrival. `isReady` once the first snapshot is whole. */
export interface Collection<T> {
  byId: ShallowRef<Map<string, T>>
  isReady: ShallowRef<boolean>
  error: ShallowRef<string>
}

/** `metrics:fleet`: per node the eight core series, per instance CPU percent and memory bytes. */
export interface Fleet {
  at: ShallowRef<number>
  nodes: Map<string, (number | null)[]>
  instances: Map<string, (number | null)[]>
  /** The last minute of each instance's CPU percent and memory bytes, as seen by this page. */
  trails: Map<string, Trail>
}

export interface Trail {
  cpu: number[]
  mem: number[]
  /** When the newest point came, Unix seconds. */
  at: number
}

const TRAIL_POINTS = 60

/** Add a point to each trail and drop the trails of instances that nobody tells of any more. */
function extendTrails(trails: Map<string, Trail>, rows: Record<string, (number | null)[]>, at: number): void {
  for (const [id, [cpu, mem]] of Object.entries(rows)) {
    const trail = trails.get(id) ?? { cpu: [], mem: [], at }
    trails.set(id, {
      cpu: [...trail.cpu, cpu ?? 0].slice(-TRAIL_POINTS),
      mem: [...trail.mem, mem ?? 0].slice(-TRAIL_POINTS),
      at,
    })
  }
  for (const [id, trail] of trails) if (at - trail.at > TRAIL_POINTS) trails.delete(id)
}

/** A message of a topic that is not a collection, as its subscriber wants it: raw. */
export type Listener = (frame: Frame) => void

const COLLECTIONS = ['nodes', 'instances', 'operations', 'systems', 'modules', 'packages', 'alerts'] as const

function keyOf(item: { id?: string; name?: string; version?: string }): string {
  return item.id ?? `${item.name ?? ''}/${item.version ?? ''}`
}

function openSocket(): SocketLike {
  return new WebSocket(socketUrlOf('/live')) as unknown as SocketLike
}

function later(delayMs: number, run: () => void): () => void {
  const timer = setTimeout(run, delayMs)
  return () => clearTimeout(timer)
}

function makeCollection<T>(): Collection<T> {
  return { byId: shallowRef(new Map()), isReady: shallowRef(false), error: shallowRef('') }
}

type Delta = { items?: unknown[]; removed?: string[] }

/** Put a frame into a collection. Parts of a snapshot gather in `pending` and replace the whole at once. */
export function applyDelta<T>(into: Collection<T>, frame: Frame, pending: Map<string, Map<string, T>>): void {
  const delta = frame.data as Delta
  if (frame.type === 'change') {
    for (const item of delta.items ?? []) into.byId.value.set(keyOf(item as object), item as T)
    for (const id of delta.removed ?? []) into.byId.value.delete(id)
    triggerRef(into.byId)
    return
  }
  const gathered =
    frame.part === 0 ? new Map<string, T>() : (pending.get(frame.topic) ?? new Map<string, T>())
  for (const item of delta.items ?? []) gathered.set(keyOf(item as object), item as T)
  pending.set(frame.topic, gathered)
  if (frame.last === false) return
  pending.delete(frame.topic)
  into.byId.value = gathered
  into.isReady.value = true
  into.error.value = ''
}

function clear<T>(collection: Collection<T>): void {
  collection.byId.value = new Map()
  collection.isReady.value = false
  collection.error.value = ''
}

function makeCollections(): { [K in keyof Collections]: Collection<Collections[K]> } {
  return {
    nodes: makeCollection(),
    instances: makeCollection(),
    operations: makeCollection(),
    systems: makeCollection(),
    modules: makeCollection(),
    packages: makeCollection(),
    alerts: makeCollection(),
  }
}

export const useLive = defineStore('live', () => {
  const link = reactive<LinkState>({ phase: 'connecting', since: Date.now(), nextTryAt: 0 })
  const collections = makeCollections()
  const fleet: Fleet = { at: shallowRef(0), nodes: new Map(), instances: new Map(), trails: new Map() }
  const wanted = new Map<string, number>()
  const listeners = new Map<string, Set<Listener>>()
  const pending = new Map<string, Map<string, never>>()
  let isScheduled = false

  const around = { now: () => Date.now(), random: () => Math.random(), after: later, open: openSocket }
  const connection = new LiveLink(around, receive, (state) => Object.assign(link, state))

  function receive(frame: Frame): void {
    const name = COLLECTIONS.find((topic) => topic === frame.topic)
    if (frame.type === 'error' && name) {
      collections[name].error.value = (frame.data as { message?: string }).message ?? 'refused'
      return
    }
    if (name) applyDelta(collections[name] as Collection<never>, frame, pending)
    else if (frame.topic === 'metrics:fleet') receiveFleet(frame)
    for (const listener of listeners.get(frame.topic) ?? []) listener(frame)
  }

  function receiveFleet(frame: Frame): void {
    type Rows = Record<string, (number | null)[]>
    const data = frame.data as { at_s?: number; nodes?: Rows; instances?: Rows }
    for (const [id, row] of Object.entries(data.nodes ?? {})) fleet.nodes.set(id, row)
    for (const [id, row] of Object.entries(data.instances ?? {})) fleet.instances.set(id, row)
    const at = data.at_s ?? Date.now() / 1000
    extendTrails(fleet.trails, data.instances ?? {}, at)
    fleet.at.value = at
  }

  /** Topics that come and go within one turn (a page change) travel as one subscription. */
  function schedule(): void {
    if (isScheduled) return
    isScheduled = true
    setTimeout(() => {
      isScheduled = false
      connection.want(wanted.keys())
    }, 0)
  }

  function hold(topic: string): () => void {
    wanted.set(topic, (wanted.get(topic) ?? 0) + 1)
    schedule()
    return () => {
      const count = (wanted.get(topic) ?? 1) - 1
      if (count > 0) wanted.set(topic, count)
      else wanted.delete(topic)
      schedule()
    }
  }

  /** Forget everything: another user may be next. */
  function stop(): void {
    connection.stop()
    for (const name of COLLECTIONS) clear(collections[name] as Collection<never>)
    fleet.nodes.clear()
    fleet.instances.clear()
    fleet.trails.clear()
  }

  // Raw: the parts bring their own refs, and a reactive wrapper would unwrap them.
  const parts = { collections: markRaw(collections), fleet: markRaw(fleet), listeners: markRaw(listeners) }
  return { link, ...parts, hold, start: () => connection.start(), stop }
})

/** A collection, subscribed for as long as the calling component lives. */
export function useCollection<K extends keyof Collections>(topic: K): Collection<Collections[K]> {
  const live = useLive()
  onScopeDispose(live.hold(topic))
  return live.collections[topic] as unknown as Collection<Collections[K]>
}

/** The gauges of every node and instance, newest each second, while the calling component lives. */
export function useFleet(): Fleet {
  const live = useLive()
  onScopeDispose(live.hold('metrics:fleet'))
  return live.fleet
}

/** Hear the frames of one topic while the calling component lives. */
export function useTopic(topic: string, listener: Listener): void {
  const live = useLive()
  const release = live.hold(topic)
  const set = live.listeners.get(topic) ?? new Set<Listener>()
  set.add(listener)
  live.listeners.set(topic, set)
  onScopeDispose(() => {
    set.delete(listener)
    if (set.size === 0) live.listeners.delete(topic)
    release()
  })
}
