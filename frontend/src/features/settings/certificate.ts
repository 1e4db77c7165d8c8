/** The hashes a person compares: of a certificate, and of its public key (what a join token pins). */

/** The bytes between the PEM marks. */
export function bytesOfPem(pem: string): Uint8Array<ArrayBuffer> {
  const body = /-----BEGIN CERTIFICATE-----([\s\S]+?)-----END CERTIFICATE-----/.exec(pem)?.[1] ?? ''
  return Uint8Array.from(atob(body.replace(/\s/g, '')), (char) => char.charCodeAt(0))
}

interface Part {
  tag: number
  /** Where the part, its content and what follows begin. */
  start: number
  inside: number
  end: number
}

/** One DER element (X.690, 8.1): tag, length, content. */
function partAt(der: Uint8Array, start: number): Part {
  const first = der[start + 1] ?? 0
  const more = first < 0x80 ? 0 : first & 0x7f
  const long = [...der.subarray(start + 2, start + 2 + more)].reduce((sum, byte) => sum * 256 + byte, 0)
  const inside = start + 2 + more
  return { tag: der[start] ?? 0, start, inside, end: inside + (more === 0 ? first : long) }
}

const EXPLICIT_VERSION = 0xa0
/** serialNumber, signature, issuer, validity, subject stand before it (RFC 5280, 4.1). */
const BEFORE_KEY = 5

/** The SubjectPublicKeyInfo of a certificate, as it stands. */
export function publicKeyOf(der: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const signed = partAt(der, partAt(der, 0).inside)
  let part = partAt(der, signed.inside)
  const skipped = part.tag === EXPLICIT_VERSION ? BEFORE_KEY + 1 : BEFORE_KEY
  for (let count = 0; count < skipped; count += 1) part = partAt(der, part.end)
  return der.slice(part.start, part.end)
}

export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', bytes)
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** `ab:cd:…`, as openssl prints a fingerprint. */
export function withColons(hex: string): string {
  return (hex.match(/../g) ?? []).join(':').toUpperCase()
}
