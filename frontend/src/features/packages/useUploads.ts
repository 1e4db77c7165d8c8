/** Zips on their way to the master, one after the other: bytes, rate, outcome. */
import { reactive } from 'vue'
import type { Package } from '@/api/types'
import { uploadPackage } from './api'

export interface Sending {
  id: number
  file: File
  sent: number
  startedAt: number
  state: 'waiting' | 'sending' | 'checking' | 'done' | 'failed'
  result: Package | null
  error: unknown
  cancel: () => void
}

let count = 0

function makeSending(file: File): Sending {
  const fresh = { id: ++count, file, sent: 0, startedAt: 0, state: 'waiting' as const }
  return { ...fresh, result: null, error: null, cancel: () => undefined }
}

async function sendOne(item: Sending): Promise<void> {
  if (item.state !== 'waiting') return
  item.startedAt = performance.now()
  item.state = 'sending'
  const running = uploadPackage(item.file, (sent) => {
    item.sent = sent
    // Every byte has left: the master now verifies and unpacks the table of contents.
    if (sent >= item.file.size) item.state = 'checking'
  })
  item.cancel = running.cancel
  try {
    item.result = await running.done
    item.state = 'done'
  } catch (problem) {
    item.error = problem
    item.state = 'failed'
  }
}

export interface Uploads {
  items: Sending[]
  add: (files: Iterable<File>) => Promise<void>
  dismiss: (item: Sending) => void
}

export function useUploads(): Uploads {
  const items = reactive<Sending[]>([])
  let line = Promise.resolve()

  function add(files: Iterable<File>): Promise<void> {
    for (const file of files) {
      items.push(makeSending(file) as never)
      const item = items[items.length - 1] as Sending
      line = line.then(() => sendOne(item))
    }
    return line
  }

  function dismiss(item: Sending): void {
    item.cancel()
    item.state = 'failed'
    items.splice(
      items.findIndex(({ id }) => id === item.id),
      1,
    )
  }

  return { items: items as Sending[], add, dismiss }
}
