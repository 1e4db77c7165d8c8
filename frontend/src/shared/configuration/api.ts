/** Values at each level, and bringing them to what runs; used wherever configuration is looked at. */
import { http } from '@/api/http'
import type { Given, ImpactPlan, Operation, Page, Variable } from '@/api/types'
import type { Reach, Subject } from './rules'

type Change = Record<string, string | null>

const environment = ({ kind, id }: Subject): string => `/${kind}s/${id}/environment`

export const getGiven = (subject: Subject): Promise<Given> => http.get(environment(subject))
export const patchEnvironment = (subject: Subject, env: Change, secrets: Change): Promise<Given> =>
  http.patch(environment(subject), { env, env_secrets: secrets })
export const listVariables = (owner: string): Promise<Page<Variable>> => http.get('/variables', { owner })
export const patchVariables = (owner: string, values: Change, secrets: Change): Promise<Page<Variable>> =>
  http.patch('/variables', { owner, values, secrets })
/** `content`: as if this text of the template were approved. */
export const planConfig = (reach: Reach, content: string | null = null): Promise<ImpactPlan> =>
  http.post('/config/plan', { ...reach, content })
export const applyConfig = (reach: Reach, maxParallel: number): Promise<{ operation: Operation }> =>
  http.post('/config/apply', { ...reach, max_parallel: maxParallel })
