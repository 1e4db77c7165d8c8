/** What a person chose and this browser remembers: theme, language, rail, table columns. */
import { defineStore } from 'pinia'
import { computed, effectScope, ref, watch, type Ref } from 'vue'

export type ThemeChoice = 'system' | 'light' | 'dark'
export type Language = 'zh' | 'en'

function read<T>(name: string, fallback: T): T {
  try {
    const text = localStorage.getItem(`ops.${name}`)
    return text === null ? fallback : (JSON.parse(text) as T)
  } catch {
    return fallback
  }
}

function write(name: string, value: unknown): void {
  try {
    localStorage.setItem(`ops.${name}`, JSON.stringify(value))
  } catch {
    // Private windows may refuse; the choice then lasts as long as the page.
  }
}

/** A ref that outlives the page. A browser that refuses storage only forgets. */
export function remembered<T>(name: string, fallback: T): Ref<T> {
  const value = ref(read(name, fallback)) as Ref<T>
  // Detached: a choice made by one component is kept after that component is gone.
  effectScope(true).run(() => watch(value, (now) => write(name, now), { deep: true }))
  return value
}

function browserLanguage(): Language {
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

export const usePreferences = defineStore('preferences', () => {
  const theme = remembered<ThemeChoice>('theme', 'system')
  const language = remembered<Language>('language', browserLanguage())
  const isRailOpen = remembered('rail', true)
  const isCompact = remembered('compact', false)
  const terminalSize = remembered('terminal-size', 13)
  const isTerminalRead = remembered('terminal-reader', false)
  const isCopyOnSelect = remembered('copy-on-select', false)
  /** Ids of the palette's lines that were chosen, the latest first. */
  const recentCommands = remembered<string[]>('recent-commands', [])
  const systemIsDark = ref(false)
  const isDark = computed(() => theme.value === 'dark' || (theme.value === 'system' && systemIsDark.value))

  function followSystem(): void {
    const query = matchMedia('(prefers-color-scheme: dark)')
    systemIsDark.value = query.matches
    query.addEventListener('change', (event) => (systemIsDark.value = event.matches))
    const root = document.documentElement
    watch(
      isDark,
      (dark) => {
        root.dataset['theme'] = dark ? 'dark' : 'light'
        root.classList.toggle('dark', dark)
      },
      { immediate: true },
    )
  }

  return {
    theme,
    language,
    isRailOpen,
    isCompact,
    terminalSize,
    isTerminalRead,
    isCopyOnSelect,
    recentCommands,
    isDark,
    followSystem,
  }
})
