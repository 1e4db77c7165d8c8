/** How hard a password is to guess, roughly and kindly. Pure; the server decides. */
export const SHORTEST_PASSWORD = 10

/** 0 (too short) to 4. Length counts most; kinds of characters and variety add. */
export function strengthOf(password: string): number {
  if ([...password].length < SHORTEST_PASSWORD) return 0
  const kinds = [/[a-z]/, /[A-Z]/, /\d/, /[^a-zA-Z\d]/].filter((kind) => kind.test(password)).length
  const variety = new Set(password).size
  if (variety < 5) return 1
  const points = (password.length >= 16 ? 2 : password.length >= 13 ? 1 : 0) + (kinds >= 3 ? 1 : 0)
  return Math.min(4, 1 + points + (variety >= 12 ? 1 : 0))
}
