import { describe, expect, it, vi } from 'vitest'
import { effectScope, nextTick, ref } from 'vue'
import { actsOf, countUntil, parseCast, spellPosition, withoutPauses } from '@/features/terminal/cast'
import { usePlayer } from '@/features/terminal/usePlayer'
import { useTabs, type Split } from '@/features/terminal/useTabs'
import {
  bytesOf,
  excerpt,
  inMessages,
  isRisky,
  isWebAddress,
  readTabs,
  safeTitle,
  spellTabs,
} from '@/features/terminal/words'

const FILE = [
  '{"version":2,"width":80,"height":24,"timestamp":1,"title":"web"}',
  '[0.5,"o","a"]',
  '[0.6,"o","b"]',
  '[9,"r","90x20"]',
  '[9.5,"o","c"]',
  '[10,"o","hal',
].join('\n')

describe('a recording', () => {
  const cast = parseCast(FILE)
  it('is read as far as it is whole', () => {
    expect(cast).toMatchObject({ cols: 80, rows: 24, title: 'web', durationS: 9.5 })
    expect(cast.events).toHaveLength(4)
  })
  it('loses its long pauses', () => {
    const short = withoutPauses(cast, 2)
    expect(short.events.map(({ at }) => Number(at.toFixed(2)))).toEqual([0.5, 0.6, 2.6, 3.1])
    expect(short.durationS).toBeCloseTo(3.1)
  })
  it('knows what was said until when', () => {
    expect([0, 0.5, 0.55, 9, 99].map((at) => countUntil(cast.events, at))).toEqual([0, 1, 1, 3, 4])
  })
  it('writes in one go what was said without a break', () => {
    expect(actsOf(cast.events)).toEqual([{ write: 'ab' }, { cols: 90, rows: 20 }, { write: 'c' }])
  })
  it('spells a position', () => expect([0, 59.9, 61].map(spellPosition)).toEqual(['0:00', '0:59', '1:01']))
})

describe('the player', () => {
  function make(): { text: () => string; size: () => string; player: ReturnType<typeof usePlayer> } {
    let [text, size] = ['', '']
    const screen = {
      write: (said: string) => (text += said),
      resize: (cols: number, rows: number) => (size = `${cols}x${rows}`),
      reset: () => (text = ''),
    }
    const player = effectScope().run(() => usePlayer(screen)) as ReturnType<typeof usePlayer>
    player.load(parseCast(FILE))
    return { text: () => text, size: () => size, player }
  }
  it('seeks both ways', () => {
    const { text, size, player } = make()
    expect([text(), size()]).toEqual(['', '80x24'])
    player.seek(99)
    expect([text(), size(), player.positionS.value]).toEqual(['abc', '90x20', 9.5])
    player.seek(0.5)
    expect([text(), size()]).toEqual(['a', '80x24'])
  })
  it('plays to the end by the clock, faster when told, and begins anew', async () => {
    vi.useFakeTimers({ toFake: ['requestAnimationFrame', 'cancelAnimationFrame', 'performance'] })
    const { text, player } = make()
    player.speed.value = 4
    player.toggle()
    await nextTick()
    vi.advanceTimersByTime(1000)
    expect(text()).toBe('ab')
    vi.advanceTimersByTime(2000)
    expect([text(), player.isPlaying.value]).toEqual(['abc', false])
    player.toggle()
    expect(text()).toBe('')
    vi.useRealTimers()
  })
})

describe('tabs', () => {
  const make = (way: Split, ...names: string[]): ReturnType<typeof useTabs> =>
    useTabs(
      names.map((session) => ({ node: 'n', session })),
      ref(way),
    )
  const seen = ({ tabs, shown }: ReturnType<typeof useTabs>): string[] =>
    shown.value.map((key) => tabs.value.find((tab) => tab.key === key)?.session ?? '?')
  const keyOf = ({ tabs }: ReturnType<typeof useTabs>, session: string): number =>
    tabs.value.find((tab) => tab.session === session)?.key ?? -1

  it('show the last one, or the last two in their order', () => {
    expect(seen(make('', 'a', 'b', 'c'))).toEqual(['c'])
    expect(seen(make('columns', 'a', 'b', 'c'))).toEqual(['b', 'c'])
    expect(seen(make('rows', 'a'))).toEqual(['a'])
  })
  it('keep the one that was typed into in sight', () => {
    const pages = make('columns', 'a', 'b', 'c')
    pages.choose(keyOf(pages, 'a'))
    expect(seen(pages)).toEqual(['a', 'c'])
    pages.choose(keyOf(pages, 'c'))
    expect(seen(pages)).toEqual(['a', 'c'])
  })
  it('close and renew in place', () => {
    const pages = make('columns', 'a', 'b', 'c')
    pages.close(keyOf(pages, 'c'))
    expect([seen(pages), pages.current.value?.session]).toEqual([['a', 'b'], 'b'])
    pages.renew(keyOf(pages, 'b'))
    expect(pages.tabs.value.map(({ session }) => session)).toEqual(['a', ''])
    expect(pages.current.value?.session).toBe('')
    pages.close(pages.front.value)
    pages.close(keyOf(pages, 'a'))
    expect([pages.tabs.value, pages.current.value]).toEqual([[], undefined])
  })
  it('stand in the address', () => {
    const text = spellTabs([
      { node: 'a', session: 's' },
      { node: 'b', session: '' },
    ])
    expect(readTabs(text)).toEqual([
      { node: 'a', session: 's' },
      { node: 'b', session: '' },
    ])
  })
})

describe('what a person is asked first', () => {
  it('is a paste of lines and an address of the web', () => {
    expect(['ls', 'ls\n', 'a\nb'].map(isRisky)).toEqual([false, true, true])
    expect(['https://a', 'javascript:alert(1)', 'file:///etc'].map(isWebAddress)).toEqual([
      true,
      false,
      false,
    ])
    expect(safeTitle('a\u0007b\u202ec')).toBe('abc')
  })
})

describe('what is typed', () => {
  it('goes in messages that the master takes, whole and in order', () => {
    const pasted = new Uint8Array(10_000_001).map((_, at) => at % 251)
    const messages = [...inMessages(pasted)]
    expect(Math.max(...messages.map(({ length }) => length))).toBeLessThan(1024 * 1024)
    const joined = new Uint8Array(pasted.length)
    let at = 0
    for (const message of messages) {
      joined.set(message, at)
      at += message.length
    }
    expect(at).toBe(pasted.length)
    expect(joined.every((byte, place) => byte === pasted[place])).toBe(true)
    expect([...inMessages(new Uint8Array(0))]).toEqual([])
  })
  it('keeps the bytes of mouse reports', () =>
    expect([...bytesOf('\u001b[M\u00ff')]).toEqual([27, 91, 77, 255]))
  it('is shown in short before it is typed', () => {
    const shown = excerpt(['a', 'x'.repeat(1_000_000), ...Array<string>(50).fill('b')])
    expect(shown).toHaveLength(12)
    expect(shown[0]).toBe('a')
    expect(shown[1]).toHaveLength(201)
  })
})
