/** Zips on their way to the master, one after the other, in parts: what has arrived stays there over breaks and reloads. */
import { reactive } from 'vue'
import { ApiError } from '@/api/http'
import type { Package } from '@/api/types'
import { abortUpload, beginUpload, completeUpload, readUpload, sendPart } from './api'

export type SendingState =
  'waiting' | 'sending' | 'broken' | 'paused' | 'left' | 'checking' | 'done' | 'failed'

export interface Sending {
  id: number
  /** How the same file is known again after a reload. */
  key: string
  name: string
  size: number
  file: File | null
  uploadId: string
  sent: number
  /** When this page began to send, and how much was there by then: the rate is of what came since. */
  startedAt: number
  startedFrom: number
  state: SendingState
  result: Package | null
  error: unknown
  interrupt: () => void
}

interface Remembered {
  id: string
  name: string
  size: number
}

const PART_BYTES = 16 * 1024 * 1024
const RETRY_MS = [1000, 2000, 4000, 8000]
const STORE = 'ops.uploads'
const PASSING = ['network', 'unavailable', 'timeout', 'rate_limited']
let count = 0

export const keyOfFile = (file: Pick<File, 'name' | 'size' | 'lastModified'>): string =>
  `${file.name}|${file.size}|${file.lastModified}`

/** Unfinished uploads of this browser by file. Private windows may refuse: then nothing is remembered. */
export function remembered(): Record<string, Remembered> {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? '{}') as Record<string, Remembered>
  } catch {
    return {}
  }
}

function remember(key: string, upload: Remembered | null): void {
  const { [key]: _before, ...others } = remembered()
  try {
    localStorage.setItem(STORE, JSON.stringify(upload ? { ...others, [key]: upload } : others))
  } catch {
    // Full or forbidden: the upload goes on, only a reload would not know it.
  }
}

function makeSending(key: string, name: string, size: number): Sending {
  const fresh = {
    id: ++count,
    key,
    name,
    size,
    file: null,
    uploadId: '',
    sent: 0,
    startedAt: 0,
    startedFrom: 0,
  }
  return { ...fresh, state: 'waiting', result: null, error: null, interrupt: () => undefined }
}

/** The upload on the master and how much of it is there; a new one where it is not known any more. */
async function locate(item: Sending): Promise<number> {
  const known = item.uploadId || remembered()[item.key]?.id
  if (known) {
    try {
      const upload = await readUpload(known)
      item.uploadId = upload.id
      return upload.received_bytes
    } catch (problem) {
      if (!(problem instanceof ApiError && problem.code === 'not_found')) throw problem
    }
  }
  const upload = await beginUpload(item.size)
  item.uploadId = upload.id
  remember(item.key, { id: upload.id, name: item.name, size: item.size })
  return 0
}

/** Send from where it stands to the end. Pausing and cancelling interrupt the part under way. */
async function sendParts(item: Sending, file: File): Promise<Package> {
  let offset = await locate(item)
  item.sent = offset
  item.startedFrom = offset
  item.startedAt = performance.now()
  item.state = 'sending'
  while (offset < item.size) {
    const part = file.slice(offset, offset + PART_BYTES)
    const running = sendPart(item.uploadId, offset, part, (sent) => (item.sent = offset + sent))
    item.interrupt = running.cancel
    offset = (await running.done).received_bytes
    item.sent = offset
  }
  item.state = 'checking'
  return completeUpload(item.uploadId)
}

/** True for what trying again may mend: the line, a busy master, a part that stands elsewhere or is still coming in. */
function isPassing(problem: unknown): boolean {
  if (!(problem instanceof ApiError)) return false
  if (PASSING.includes(problem.code)) return true
  return problem.code === 'conflict' && ('received_bytes' in problem.details || 'id' in problem.details)
}

const isFull = (problem: unknown): boolean => problem instanceof ApiError && problem.code === 'storage_full'

const isHalted = (item: Sending): boolean => item.state === 'paused' || item.state === 'failed'

function rest(item: Sending, attempt: number): Promise<void> {
  item.state = 'broken'
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)])
    item.interrupt = () => {
      clearTimeout(timer)
      resolve()
    }
  })
}

async function sendOne(item: Sending): Promise<void> {
  for (let attempt = 0; item.file && !isHalted(item) && item.state !== 'done'; attempt += 1) {
    const before = item.sent
    try {
      item.result = await sendParts(item, item.file)
      item.state = 'done'
      remember(item.key, null)
    } catch (problem) {
      if (isHalted(item)) return
      if (item.sent > before) attempt = 0
      if (isFull(problem)) {
        item.error = problem
        item.state = 'paused'
        return
      }
      if (!isPassing(problem)) {
        item.error = problem
        item.state = 'failed'
        remember(item.key, null)
        return
      }
      await rest(item, attempt)
    }
  }
}

export interface Uploads {
  items: Sending[]
  add: (files: Iterable<File>) => Promise<void>
  pause: (item: Sending) => void
  resume: (item: Sending) => Promise<void>
  dismiss: (item: Sending) => void
}

/** Shared by all pages of the console: an upload goes on while somebody looks elsewhere. */
const items = reactive<Sending[]>([]) as Sending[]
let line = Promise.resolve()

export function useUploads(): Uploads {
  function enqueue(item: Sending): Promise<void> {
    item.state = 'waiting'
    item.error = null
    line = line.then(() => sendOne(item))
    return line
  }

  function push(fresh: Sending): Sending {
    items.push(fresh)
    return items[items.length - 1] as Sending
  }

  function add(files: Iterable<File>): Promise<void> {
    for (const file of files) {
      const key = keyOfFile(file)
      const left = items.find(
        (item) => item.key === key && (item.state === 'left' || item.state === 'paused'),
      )
      const item = left ?? push(makeSending(key, file.name, file.size))
      item.file = file
      void enqueue(item)
    }
    return line
  }

  function pause(item: Sending): void {
    item.state = 'paused'
    item.interrupt()
  }

  function dismiss(item: Sending): void {
    const isOpen = !['done', 'failed'].includes(item.state)
    item.state = 'failed'
    item.interrupt()
    items.splice(
      items.findIndex(({ id }) => id === item.id),
      1,
    )
    remember(item.key, null)
    if (isOpen && item.uploadId) void abortUpload(item.uploadId).catch(() => undefined) // swept after a day anyhow
  }

  /** Show what an earlier page began and the master still has. */
  async function recall(): Promise<void> {
    for (const [key, { id, name, size }] of Object.entries(remembered())) {
      try {
        const { received_bytes } = await readUpload(id)
        if (items.some((item) => item.key === key)) continue
        Object.assign(push(makeSending(key, name, size)), {
          uploadId: id,
          sent: received_bytes,
          state: 'left',
        })
      } catch (problem) {
        if (problem instanceof ApiError && problem.code === 'not_found') remember(key, null)
      }
    }
  }

  void recall()
  return { items, add, pause, resume: enqueue, dismiss }
}
