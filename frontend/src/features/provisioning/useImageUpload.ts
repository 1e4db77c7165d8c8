/** An image on its way to the master, in parts: a broken line goes on where it broke. */
import { reactive } from 'vue'
import { ApiError } from '@/api/http'
import { abortUpload, beginUpload, imageOfUpload, readUpload, sendPart } from './catalogueApi'
import type { Image, ImageFacts } from './catalogueTypes'

export interface ImageUpload {
  state: 'idle' | 'sending' | 'broken' | 'checking'
  sent: number
  size: number
  /** Bytes a second since it began. */
  rate: number
  run: (file: File, facts: ImageFacts) => Promise<Image>
  cancel: () => void
}

const PART_BYTES = 16 * 1024 * 1024
const RETRY_MS = [1000, 2000, 4000, 8000]
const TRIES = 20
const PASSING = ['network', 'unavailable', 'timeout', 'rate_limited']
const isPassing = (problem: unknown): boolean => problem instanceof ApiError && PASSING.includes(problem.code)
const rest = (tries: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]))

export function useImageUpload(): ImageUpload {
  let uploadId = ''
  let isCancelled = false
  let interrupt = (): void => undefined

  async function sendFrom(file: File, offset: number, startedAt: number): Promise<number> {
    const part = file.slice(offset, offset + PART_BYTES)
    const running = sendPart(uploadId, offset, part, (sent) => {
      upload.sent = offset + sent
      upload.rate = (1000 * upload.sent) / Math.max(1, performance.now() - startedAt)
    })
    interrupt = running.cancel
    return (await running.done).received_bytes
  }

  async function send(file: File): Promise<void> {
    const startedAt = performance.now()
    for (let offset = 0, tries = 0; offset < file.size;) {
      try {
        offset = await sendFrom(file, offset, startedAt)
        upload.state = 'sending'
        tries = 0
      } catch (problem) {
        if (isCancelled || !isPassing(problem) || tries >= TRIES) throw problem
        upload.state = 'broken'
        await rest(tries)
        tries += 1
        offset = await readUpload(uploadId).then(
          ({ received_bytes }) => received_bytes,
          () => offset,
        )
      }
    }
  }

  async function run(file: File, facts: ImageFacts): Promise<Image> {
    Object.assign(upload, { state: 'sending', sent: 0, size: file.size, rate: 0 })
    isCancelled = false
    try {
      uploadId = (await beginUpload(file.size)).id
      await send(file)
      upload.state = 'checking'
      return await imageOfUpload(uploadId, facts)
    } finally {
      upload.state = 'idle'
    }
  }

  function cancel(): void {
    isCancelled = true
    interrupt()
    if (uploadId) void abortUpload(uploadId).catch(() => undefined) // swept after a day anyhow
  }

  const upload: ImageUpload = reactive({ state: 'idle', sent: 0, size: 0, rate: 0, run, cancel })
  return upload
}

/** What a file's name tells of its name, version and format: `debian-12.raw.zst`. */
export function guessOf(fileName: string): Pick<ImageFacts, 'name' | 'version' | 'format'> {
  const lower = fileName.toLowerCase()
  const packed = /\.(gz|zst)$/.exec(lower)?.[1]
  const isTar = /\.(tar\.(gz|zst)|tgz)$/.test(lower)
  const isKernel = /^(vmlinuz|linux|bzimage)/.test(lower)
  const isInitrd = /^(initrd|initramfs)/.test(lower)
  const packing = packed ?? (lower.endsWith('.tgz') ? 'gz' : '')
  const plain = `${isTar ? 'tar' : 'raw'}${packing ? `.${packing}` : ''}`
  const format = (isKernel ? 'kernel' : isInitrd ? 'initrd' : plain) as ImageFacts['format']
  const stem = fileName
    .replace(/\.(raw|img|tar|tgz|gz|zst|iso)(?=\.|$)/gi, '')
    .replace(/[^A-Za-z0-9._-]/g, '-')
  const found = /^(.*?)[-_]v?(\d[\w.]*)$/.exec(stem)
  return { name: found?.[1] ?? stem, version: found?.[2] ?? '', format }
}
