/** Both languages, each loaded when first wanted, switched without a reload. */
import { createI18n } from 'vue-i18n'
import type { Language } from '@/stores/preferences'

export const i18n = createI18n({
  legacy: false,
  locale: 'en',
  missingWarn: false,
  fallbackWarn: false,
  messages: {} as Record<string, Record<string, string>>,
})

const loaders: Record<Language, () => Promise<{ default: object }>> = {
  en: () => import('./en'),
  zh: () => import('./zh'),
}
const loaded = new Set<Language>()

export async function setLanguage(language: Language): Promise<void> {
  if (!loaded.has(language)) {
    i18n.global.setLocaleMessage(language, (await loaders[language]()).default as Record<string, string>)
    loaded.add(language)
  }
  i18n.global.locale.value = language
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en'
}
