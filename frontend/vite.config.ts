import { fileURLToPath } from 'node:url'
import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'
import { deliver } from './build/deliver.ts'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const master = process.env['OPS_CONSOLE_MASTER'] ?? 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [vue(), deliver()],
  resolve: { alias: { '@': here('./src') } },
  define: {
    __VUE_OPTIONS_API__: false,
    __VUE_PROD_DEVTOOLS__: false,
    __VUE_I18N_FULL_INSTALL__: false,
    __VUE_I18N_LEGACY_API__: false,
    __INTLIFY_PROD_DEVTOOLS__: false,
    // Messages are interpreted, never turned into code: the server's CSP has no 'unsafe-eval'.
    __INTLIFY_JIT_COMPILATION__: true,
    __INTLIFY_DROP_MESSAGE_COMPILER__: false,
  },
  build: {
    outDir: here('../ops_system/master/console'),
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      // The Origin is rewritten because the master wants its own, exactly.
      '/api': { target: master, ws: true, changeOrigin: true, headers: { Origin: master } },
    },
  },
  test: {
    environment: 'happy-dom',
    include: ['tests/**/*.test.ts'],
    testTimeout: 60_000, // a bound against hanging, wide enough for a busy machine
    server: { deps: { inline: ['element-plus'] } },
  },
})
