import { describe, expect, it } from 'vitest'
import {
  isAddress,
  isMac,
  isNetworkFine,
  networkFaults,
  networkOf,
  networkText,
  newCard,
} from '@/features/provisioning/networkDraft'

describe('the network of a form', () => {
  const own = '00:1a:2b:3c:4d:5e'
  const other = '00:1a:2b:3c:4d:5f'
  const fixed = { ...newCard(), isStatic: true, address: '10.0.0.5/24', gateway: '10.0.0.1' }
  const of = (...cards: (typeof fixed)[]): ReturnType<typeof networkText> => ({ ...networkText(null), cards })
  it('knows a card from a group and from nonsense', () => {
    const macs = [own, '01:00:5e:00:00:01', '00:1a', 'x']
    expect(macs.map(isMac)).toEqual([true, false, false, false])
  })
  it('knows addresses of both families', () => {
    expect(['10.0.0.2', '::1', 'fd00::a:2'].every(isAddress)).toBe(true)
    const bad = ['10.0.0', '10.0.0.256', '10.0.0.2.3', 'a.b.c.d', 'fd00::1::2', '[::1', '1:2', '', '::1]/']
    expect(bad.some(isAddress)).toBe(false)
  })
  it('says nothing where nothing was said', () => {
    expect(networkOf(networkText(null), own)).toBe(null)
    expect(networkOf(of(newCard(), newCard()), own)).toBe(null)
    expect(isNetworkFine(of(newCard(), newCard()), null)).toBe(true)
    expect(networkOf({ hostname: ' web ', cards: [], dns: '' }, own)).toEqual({
      hostname: 'web',
      interfaces: [],
      dns: [],
    })
  })
  it('takes several cards, the unnamed one as the card of the task', () => {
    const text = of(fixed, { ...newCard(), mac: ` ${other} `, address: 'typed before', gateway: 'x' })
    expect(isNetworkFine(text, own)).toBe(true)
    expect(networkOf(text, own)?.interfaces).toEqual([
      { mac: own, address: '10.0.0.5/24', gateway: '10.0.0.1' },
      { mac: other, address: '', gateway: '' },
    ])
  })
  it('tells which field of which card is wrong', () => {
    const bad = { ...fixed, mac: 'x', address: '10.0.0.5', gateway: '10.0.0.1/24' }
    expect(networkFaults({ ...of(fixed, bad), hostname: 'a_b', dns: '10.0.0.2, x' }, own)).toEqual({
      hostname: 'hostname',
      cards: [
        { mac: '', address: '', gateway: '' },
        { mac: 'mac', address: 'address', gateway: 'gateway' },
      ],
      dns: 'dns',
    })
    const prefixes = ['10.0.0.5/33', '10.0.0.5/', 'fd00::5/129', '10.0.0.5/24/8', '/24']
    for (const address of prefixes) expect(isNetworkFine(of({ ...fixed, address }), own), address).toBe(false)
    expect(isNetworkFine(of({ ...fixed, address: 'fd00::5/64', gateway: 'fd00::1' }), own)).toBe(true)
  })
  it('names no card twice, however it is written', () => {
    const macOf = (...cards: (typeof fixed)[]): string[] =>
      networkFaults(of(...cards), own).cards.map(({ mac }) => mac)
    expect(macOf(fixed, { ...fixed, mac: '00-1A-2B-3C-4D-5E' })).toEqual(['', 'twice'])
    expect(macOf(fixed, newCard())).toEqual(['', 'twice'])
  })
  it('names every card in a profile', () => {
    expect(networkFaults(of(fixed), null).cards[0]?.mac).toBe('mac')
    const told = { hostname: 'web', interfaces: [{ mac: own, address: '', gateway: '' }], dns: ['10.0.0.2'] }
    expect(networkOf(networkText(told), null)).toEqual(told)
  })
})
