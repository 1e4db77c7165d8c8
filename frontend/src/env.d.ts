/// <reference types="vite/client" />

declare module 'element-plus/es/locale/lang/zh-cn' {
  import type { Language } from 'element-plus/es/locale'
  const language: Language
  export default language
}
declare module 'element-plus/es/locale/lang/en' {
  import type { Language } from 'element-plus/es/locale'
  const language: Language
  export default language
}

interface Window {
  /** Of public/whole.js: load this page, or that at `path`, again; false when that was done too often lately. */
  opsLoadAgain?: (path?: string) => boolean
}
