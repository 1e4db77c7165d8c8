/** The columns of the task table. */
import { computed, type ComputedRef } from 'vue'
import { useI18n } from 'vue-i18n'
import type { Column } from '@/shared/table/columns'
import type { Task } from './types'

export function useTaskColumns(): ComputedRef<Column<Task>[]> {
  const { t } = useI18n()
  const age = { width: '110px', isNumber: true }
  return computed(() => [
    { id: 'sn', label: t('provisioning.sn'), width: 'minmax(140px, 1fr)', sortBy: (row) => row.sn },
    { id: 'status', label: t('provisioning.status'), width: '150px', sortBy: (row) => row.status },
    { id: 'idc', label: t('provisioning.idc'), width: '100px', sortBy: (row) => row.idc },
    {
      id: 'os_type',
      label: t('provisioning.os'),
      width: 'minmax(140px, 1fr)',
      sortBy: (row) => row.os_type,
    },
    { id: 'progress', label: t('provisioning.progress'), width: 'minmax(180px, 2fr)' },
    { id: 'deadline_at', label: t('provisioning.deadline'), ...age, width: '120px' },
    { id: 'mac', label: t('provisioning.mac'), width: '150px', sortBy: (row) => row.mac },
    { id: 'tags', label: t('provisioning.tags'), width: 'minmax(100px, 1fr)', isOptional: true },
    { id: 'created_by', label: t('provisioning.createdBy'), width: '110px', isOptional: true },
    {
      id: 'created_at',
      label: t('provisioning.created'),
      ...age,
      isOptional: true,
      sortBy: (row) => row.created_at,
    },
    { id: 'updated_at', label: t('provisioning.updated'), ...age, sortBy: (row) => row.updated_at },
    { id: 'act', label: '', width: '104px', isPinned: true },
  ])
}
