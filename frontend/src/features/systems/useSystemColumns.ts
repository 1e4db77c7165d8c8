import { computed, type ComputedRef } from 'vue'
import { useI18n } from 'vue-i18n'
import type { Column } from '@/shared/table/columns'
import type { TreeRow } from './tree'

export function useSystemColumns(): ComputedRef<Column<TreeRow>[]> {
  const { t } = useI18n()
  return computed(() => [
    { id: 'name', label: t('systems.name'), width: 'minmax(190px, 2.4fr)' },
    { id: 'state', label: t('instances.state'), width: 'minmax(130px, 1fr)' },
    { id: 'health', label: t('instances.health'), width: '100px' },
    { id: 'node', label: t('instances.node'), width: 'minmax(90px, 1fr)', isOptional: true },
    { id: 'version', label: t('instances.version'), width: 'minmax(110px, 1.4fr)' },
    { id: 'cpu', label: t('metric.cpu'), width: '136px', isNumber: true },
    { id: 'mem', label: t('metric.mem'), width: '144px', isNumber: true },
    { id: 'restarts', label: t('instances.restarts'), width: '80px', isNumber: true },
    { id: 'age', label: t('instances.age'), width: '100px', isNumber: true },
    { id: 'actions', label: '', width: '0px', isPinned: true },
  ])
}
