/** The network of a new system as a form holds it, and as the API takes it. Pure. */
import type { NetworkConfig } from './types'

/** A card; without a MAC it is the one that the machine's task names. */
export interface CardText {
  mac: string
  isStatic: boolean
  address: string
  gateway: string
}

export interface NetworkText {
  hostname: string
  cards: CardText[]
  dns: string
}

/** What is wrong with a card's fields, in the words of the dictionary; '' where nothing is. */
export interface CardFaults {
  mac: '' | 'mac' | 'twice'
  address: '' | 'address'
  gateway: '' | 'gateway'
}

export interface NetworkFaults {
  hostname: '' | 'hostname'
  cards: CardFaults[]
  dns: '' | 'dns'
}

export const newCard = (): CardText => ({ mac: '', isStatic: false, address: '', gateway: '' })

export function networkText(network: NetworkConfig | null): NetworkText {
  const cards = (network?.interfaces ?? []).map(({ mac, address, gateway }) => ({
    mac,
    isStatic: address !== '',
    address,
    gateway,
  }))
  return { hostname: network?.hostname ?? '', cards, dns: (network?.dns ?? []).join(', ') }
}

const HOST = /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/
const MAC_DIGITS = /^[0-9a-f]{12}$/
const NUMBER = /^\d{1,3}$/
const PREFIX_MOST = { v4: 32, v6: 128 }

const digitsOf = (mac: string): string => mac.trim().toLowerCase().replace(/[:.-]/g, '')
const wordsOf = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean)

/** Six bytes however they are parted, the first of them not a group's. */
export function isMac(text: string): boolean {
  const digits = digitsOf(text)
  return MAC_DIGITS.test(digits) && (parseInt(digits.slice(0, 2), 16) & 1) === 0
}

/** An address of IPv4 or IPv6, without a prefix. */
export function isAddress(text: string): boolean {
  if (text.includes(':')) return /^[0-9a-f:.]+$/i.test(text) && URL.canParse(`http://[${text}]/`)
  const parts = text.split('.')
  return parts.length === 4 && parts.every((part) => NUMBER.test(part) && Number(part) <= 255)
}

function isPlace(text: string): boolean {
  const [address = '', prefix = '', ...more] = text.split('/')
  const most = address.includes(':') ? PREFIX_MOST.v6 : PREFIX_MOST.v4
  return more.length === 0 && isAddress(address) && NUMBER.test(prefix) && Number(prefix) <= most
}

/** A card nobody said anything of. Where all are, every card of the machine asks DHCP. */
const isBlank = ({ mac, isStatic }: CardText): boolean => mac.trim() === '' && !isStatic

function faultOfMac(mac: string, others: string[], own: string | null): CardFaults['mac'] {
  const isFine = mac === '' ? own !== null : isMac(mac)
  if (!isFine) return 'mac'
  return others.includes(digitsOf(mac || own || '')) ? 'twice' : ''
}

/** `own`: the MAC that the task names; null in a profile, where each card has to be named. */
export function networkFaults({ hostname, cards, dns }: NetworkText, own: string | null): NetworkFaults {
  const isSilent = cards.every(isBlank)
  const macs = cards.map(({ mac }) => digitsOf(mac.trim() || own || ''))
  const faults = cards.map(({ mac, isStatic, address, gateway }, place): CardFaults => {
    const way = gateway.trim()
    return {
      mac: isSilent ? '' : faultOfMac(mac.trim(), macs.slice(0, place), own),
      address: isStatic && !isPlace(address.trim()) ? 'address' : '',
      gateway: isStatic && way !== '' && !isAddress(way) ? 'gateway' : '',
    }
  })
  return {
    hostname: hostname.trim() === '' || HOST.test(hostname.trim()) ? '' : 'hostname',
    cards: faults,
    dns: wordsOf(dns).every(isAddress) ? '' : 'dns',
  }
}

export function isNetworkFine(text: NetworkText, own: string | null): boolean {
  const { hostname, cards, dns } = networkFaults(text, own)
  return [hostname, dns, ...cards.flatMap((card) => Object.values(card) as string[])].every(
    (one) => one === '',
  )
}

/** What the API takes; null where nothing was said. */
export function networkOf(text: NetworkText, own: string | null): NetworkConfig | null {
  const [hostname, dns] = [text.hostname.trim(), wordsOf(text.dns)]
  const interfaces = text.cards.every(isBlank)
    ? []
    : text.cards.map(({ mac, isStatic, address, gateway }) => ({
        mac: mac.trim() || (own ?? '').trim(),
        address: isStatic ? address.trim() : '',
        gateway: isStatic ? gateway.trim() : '',
      }))
  return hostname || interfaces.length > 0 || dns.length > 0 ? { hostname, interfaces, dns } : null
}
