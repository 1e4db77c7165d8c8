import { effectScope, nextTick, ref } from 'vue'
import { describe, expect, it } from 'vitest'
import { crumb, useCrumb } from '@/shared/frame/crumb'

describe('breadcrumb', () => {
  it('shows the innermost name, and the outer one again when that is gone', async () => {
    const [page, panel] = [effectScope(), effectScope()]
    const tab = ref('Firing')
    page.run(() => useCrumb(() => tab.value))
    panel.run(() => useCrumb(() => 'CPU'))
    expect(crumb.value).toBe('CPU')
    tab.value = 'Rules'
    await nextTick()
    expect(document.title).toBe('CPU · ops-system')
    panel.stop()
    expect([crumb.value, document.title]).toEqual(['Rules', 'Rules · ops-system'])
    page.stop()
    expect([crumb.value, document.title]).toEqual(['', 'ops-system'])
  })
})
