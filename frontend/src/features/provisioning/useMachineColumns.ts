/** The columns of machines, those known and those nobody asked for. */
import { computed, type ComputedRef } from 'vue'
import { useI18n } from 'vue-i18n'
import type { Column } from '@/shared/table/columns'
import type { Machine } from './types'

export function useMachineColumns(): ComputedRef<Column<Machine>[]> {
  const { t } = useI18n()
  const number = { isNumber: true }
  return computed(() => [
    { id: 'sn', label: t('provisioning.sn'), width: 'minmax(130px, 1fr)', sortBy: (row) => row.sn },
    { id: 'state', label: t('provisioning.status'), width: '140px' },
    { id: 'model', label: t('provisioning.model'), width: 'minmax(150px, 1.4fr)' },
    { id: 'cpu', label: t('metric.cpu'), width: 'minmax(150px, 1.4fr)', isOptional: true },
    { id: 'threads', label: t('provisioning.threads'), width: '90px', ...number },
    { id: 'memory', label: t('metric.mem'), width: '100px', ...number },
    { id: 'disks', label: t('provisioning.disks'), width: '130px', ...number },
    { id: 'macs', label: t('provisioning.macs'), width: 'minmax(150px, 1.4fr)' },
    {
      id: 'last_seen_at',
      label: t('provisioning.seen'),
      width: '130px',
      ...number,
      sortBy: (row) => row.last_seen_at,
    },
  ])
}
