/** The second half of the breadcrumb: the name of the object a page shows. */
import { computed, onScopeDispose, shallowRef, watchEffect, type ComputedRef } from 'vue'

/** The innermost names last: a panel's object stands before the page's tab. */
const names = shallowRef<{ text: ComputedRef<string> }[]>([])

export const crumb = computed(() => names.value.at(-1)?.text.value ?? '')

/** Show `name()` in the breadcrumb and the window's title while the calling page lives. */
export function useCrumb(name: () => string): void {
  const own = { text: computed(name) }
  names.value = [...names.value, own]
  watchEffect(() => (document.title = crumb.value ? `${crumb.value} · ops-system` : 'ops-system'))
  onScopeDispose(() => {
    names.value = names.value.filter((other) => other !== own)
    document.title = crumb.value ? `${crumb.value} · ops-system` : 'ops-system'
  })
}
