import { readdirSync } from 'node:fs'
import globals from 'globals'
import vue from 'eslint-plugin-vue'
import ts from 'typescript-eslint'

const features = readdirSync(new URL('./src/features', import.meta.url))

/** Forbid imports that match `group`; `@/` names another floor, `./` the own folder, `../` nothing. */
const forbid = (files, group, message) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns: [{ group, message }] }] },
})

export default ts.config(
  { ignores: ['node_modules', 'src/api/schema.d.ts'] },
  ...ts.configs.strict,
  ...vue.configs['flat/recommended'],
  {
    files: ['**/*.{ts,vue}'],
    languageOptions: {
      globals: globals.browser,
      parserOptions: { parser: ts.parser, extraFileExtensions: ['.vue'] },
    },
    rules: {
      '@typescript-eslint/explicit-function-return-type': ['error', { allowExpressions: true }],
      'no-console': ['error', { allow: ['info', 'error'] }],
      'no-eval': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { varsIgnorePattern: '^_', argsIgnorePattern: '^_' }],
      'vue/no-v-html': 'error',
      'vue/block-lang': ['error', { script: { lang: 'ts' } }],
      'vue/component-api-style': ['error', ['script-setup']],
      'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
      // Layout belongs to prettier.
      'vue/max-attributes-per-line': 'off',
      'vue/singleline-html-element-content-newline': 'off',
      'vue/multiline-html-element-content-newline': 'off',
      'vue/html-self-closing': 'off',
      'vue/html-indent': 'off',
      'vue/html-closing-bracket-newline': 'off',
    },
  },
  // A dictionary is as long as the language is.
  { files: ['src/locales/**'], rules: { 'max-lines': 'off' } },
  { files: ['tests/**'], rules: { 'max-lines-per-function': 'off' } },
  // Floors: features -> shared -> stores -> api. A feature never imports a feature.
  forbid(
    features.map((name) => `src/features/${name}/**`),
    ['@/features/*', '@/features/**', '../*'],
    'A feature imports its own folder by ./ and otherwise only @/shared, @/stores, @/api.',
  ),
  forbid(['src/api/**'], ['@/**', '../*'], 'api stands on nothing.'),
  forbid(['src/shared/**'], ['@/features/**'], 'shared does not know the features.'),
  forbid(['src/stores/**'], ['@/features/**', '@/shared/**'], 'stores stand on api alone.'),
)
