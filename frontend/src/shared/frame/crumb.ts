/** The second half of the breadcrumb: the name of the object a page shows. */
import { onScopeDispose, ref, watchEffect } from 'vue'

export const crumb = ref('')

/** Show `name()` in the breadcrumb and the window's title while the calling page lives. */
export function useCrumb(name: () => string): void {
  watchEffect(() => {
    crumb.value = name()
    document.title = crumb.value ? `${crumb.value} · ops-system` : 'ops-system'
  })
  onScopeDispose(() => {
    crumb.value = ''
    document.title = 'ops-system'
  })
}
