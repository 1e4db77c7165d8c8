import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ApiError } from '@/api/http'
import type { Package, PartialUpload } from '@/api/types'
import * as api from '@/features/packages/api'
import { keyOfFile, remembered, useUploads, type Sending } from '@/features/packages/useUploads'
import { compareVersion } from '@/shared/versions'

const SIZE = 40 * 1024 * 1024
const PART = 16 * 1024 * 1024

/** A master that takes parts; `breaks` are errors for the next parts, each after half of it has arrived. */
class FakeMaster {
  received = 0
  parts: number[] = []
  breaks: ApiError[] = []
  gate: Promise<void> | null = null
  isKnown = false
  aborted = 0

  install(): void {
    vi.spyOn(api, 'beginUpload').mockImplementation(async () => {
      this.isKnown = true
      this.received = 0
      return this.view()
    })
    vi.spyOn(api, 'readUpload').mockImplementation(async () => {
      if (!this.isKnown) throw new ApiError(404, 'not_found', 'gone')
      return this.view()
    })
    vi.spyOn(api, 'abortUpload').mockImplementation(async () => (this.aborted += 1))
    vi.spyOn(api, 'completeUpload').mockImplementation(async () => ({ name: 'web', version: '1' }) as Package)
    vi.spyOn(api, 'sendPart').mockImplementation((_id, offset, bytes, onBytes) => {
      let cancel: () => void = () => undefined
      const cancelled = new Promise<never>((_resolve, reject) => {
        cancel = () => reject(new ApiError(0, 'cancelled', 'cancelled'))
      })
      cancelled.catch(() => undefined)
      return {
        done: Promise.race([this.take(offset, bytes.size, onBytes), cancelled]),
        cancel: () => cancel(),
      }
    })
  }

  view(): PartialUpload {
    return { id: 'up_1', size_bytes: SIZE, received_bytes: this.received } as PartialUpload
  }

  async take(offset: number, size: number, onBytes: (sent: number) => void): Promise<PartialUpload> {
    expect(offset).toBe(this.received)
    this.parts.push(offset)
    const broken = this.breaks.shift()
    if (this.gate) await this.gate
    onBytes(size / 2)
    if (broken) {
      this.received = offset + size / 2
      throw broken
    }
    this.received = offset + size
    return this.view()
  }
}

const file = (name = 'a.zip'): File =>
  ({
    name,
    size: SIZE,
    lastModified: 7,
    slice: (from: number, to: number) => ({ size: Math.min(to, SIZE) - from }),
  }) as unknown as File
const last = (items: Sending[]): Sending => items[items.length - 1] as Sending

describe('an upload in parts', () => {
  let master: FakeMaster
  beforeEach(() => {
    localStorage.clear()
    vi.useFakeTimers()
    master = new FakeMaster()
    master.install()
  })
  afterEach(() => {
    const { items, dismiss } = useUploads()
    for (const item of [...items]) dismiss(item)
    vi.restoreAllMocks()
    vi.useRealTimers()
  })

  it('sends one part after the other and is forgotten at its end', async () => {
    const uploads = useUploads()
    await uploads.add([file()])
    expect(last(uploads.items).state).toBe('done')
    expect(master.parts).toEqual([0, PART, 2 * PART])
    expect(remembered()).toEqual({})
  })

  it('goes on by itself where a broken connection stopped', async () => {
    master.breaks = [new ApiError(0, 'network', 'broke')]
    const uploads = useUploads()
    const ended = uploads.add([file()])
    await vi.advanceTimersByTimeAsync(10)
    expect(last(uploads.items).state).toBe('broken')
    await vi.advanceTimersByTimeAsync(1000)
    await ended
    expect(last(uploads.items).state).toBe('done')
    expect(master.parts.slice(0, 2)).toEqual([0, PART / 2])
  })

  it('stops at a pause and goes on where the master stands', async () => {
    master.gate = new Promise(() => undefined)
    const uploads = useUploads()
    void uploads.add([file()])
    await vi.advanceTimersByTimeAsync(10)
    uploads.pause(last(uploads.items))
    await vi.advanceTimersByTimeAsync(10)
    expect(last(uploads.items).state).toBe('paused')
    master.gate = null
    master.received = 1000
    await uploads.resume(last(uploads.items))
    expect(last(uploads.items).state).toBe('done')
    expect(master.parts.slice(0, 2)).toEqual([0, 1000])
  })

  it('is offered after a reload and goes on when the same file is chosen', async () => {
    const key = keyOfFile(file('b.zip'))
    localStorage.setItem('ops.uploads', JSON.stringify({ [key]: { id: 'up_1', name: 'b.zip', size: SIZE } }))
    master.isKnown = true
    master.received = 5000
    const uploads = useUploads()
    await vi.advanceTimersByTimeAsync(1)
    expect([last(uploads.items).state, last(uploads.items).sent]).toEqual(['left', 5000])
    await uploads.add([file('b.zip')])
    expect(uploads.items.filter((item) => item.key === key)).toHaveLength(1)
    expect(last(uploads.items).state).toBe('done')
    expect(master.parts[0]).toBe(5000)
  })

  it('begins anew when the master has forgotten it, and says what the master refuses', async () => {
    const key = keyOfFile(file('c.zip'))
    localStorage.setItem('ops.uploads', JSON.stringify({ [key]: { id: 'up_0', name: 'c.zip', size: SIZE } }))
    const uploads = useUploads()
    await vi.advanceTimersByTimeAsync(1)
    expect(remembered()).toEqual({})
    vi.spyOn(api, 'completeUpload').mockRejectedValue(new ApiError(422, 'invalid', 'no service.json'))
    await uploads.add([file('c.zip')])
    expect([last(uploads.items).state, master.parts[0]]).toEqual(['failed', 0])
  })

  it('is taken from the master when a person cancels it', async () => {
    master.gate = new Promise(() => undefined)
    const uploads = useUploads()
    void uploads.add([file()])
    await vi.advanceTimersByTimeAsync(10)
    uploads.dismiss(last(uploads.items))
    expect(master.aborted).toBe(1)
    expect(remembered()).toEqual({})
  })
})

describe('the order of versions', () => {
  it('is that of the master', () => {
    const shuffled = ['1.10', '1.0.1', '1.0', '1.0-rc1', '1.9', '1.0-beta2', '2', '1.0-rc10', '1.0-rc2']
    expect(shuffled.sort(compareVersion)).toEqual([
      '1.0-beta2',
      '1.0-rc1',
      '1.0-rc2',
      '1.0-rc10',
      '1.0',
      '1.0.1',
      '1.9',
      '1.10',
      '2',
    ])
  })
})
