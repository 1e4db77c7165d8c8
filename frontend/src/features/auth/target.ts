/** Where a login leads: the page that was asked for, and only a page of this console. Pure. */
export function targetOf(to: unknown): string {
  return typeof to === 'string' && /^\/(?![/\\])/.test(to) ? to : '/'
}
