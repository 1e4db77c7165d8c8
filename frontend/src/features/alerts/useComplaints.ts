/** What is wrong with a field, in words: the server's complaint first, then what is seen while typing. */
import { useI18n } from 'vue-i18n'
import type { Field } from './ruleDraft'

export interface FieldProps {
  wrong: Field[]
  complaints: Partial<Record<Field, string>>
}

export function useComplaints(props: FieldProps): (field: Field) => string {
  const { t } = useI18n()
  return (field) => props.complaints[field] ?? (props.wrong.includes(field) ? t(`alerts.wrong.${field}`) : '')
}
