/** Who is signed in. Asked once at the first page, then kept in step with every 401. */
import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { ApiError, http, setCsrfToken } from '@/api/http'
import type { Caller, Me, Permission } from '@/api/types'

export const useSession = defineStore('session', () => {
  const user = ref<Caller | null>(null)
  const isSetupRequired = ref(false)
  let asked: Promise<void> | null = null

  function accept(me: Me): void {
    user.value = me.user
    setCsrfToken(me.csrf_token)
    isSetupRequired.value = false
  }

  async function ask(): Promise<void> {
    try {
      accept(await http.get<Me>('/me'))
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 0 || error.status >= 500) throw error
      user.value = null
      isSetupRequired.value = (await http.get<{ required: boolean }>('/setup')).required
    }
  }

  /** Resolve once it is known who is signed in; a failed question is asked again next time. */
  function load(): Promise<void> {
    asked ??= ask().catch((error: unknown) => {
      asked = null
      throw error
    })
    return asked
  }

  function forget(): void {
    user.value = null
    setCsrfToken('')
  }

  /** Still signed in? A 401 here ends the session on the page too. */
  async function check(): Promise<boolean> {
    try {
      accept(await http.get<Me>('/me'))
      return true
    } catch (error) {
      return !(error instanceof ApiError && error.status === 401)
    }
  }

  async function signIn(username: string, password: string, totp: string): Promise<void> {
    accept(await http.post<Me>('/login', { username, password, ...(totp ? { totp } : {}) }))
  }

  const signOut = (): Promise<void> => http.post('/logout').then(forget)

  const may = (permission: Permission): boolean => user.value?.permissions.includes(permission) ?? false
  const canOperate = computed(() => may('operate'))
  const canAdminister = computed(() => may('admin'))

  return {
    user,
    isSetupRequired,
    may,
    canOperate,
    canAdminister,
    accept,
    load,
    forget,
    check,
    signIn,
    signOut,
  }
})
