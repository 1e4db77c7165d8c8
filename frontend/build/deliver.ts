/** The last step of a build: pre-compressed copies for the server, and a limit on the first load. */
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import type { Plugin } from 'vite'

const FIRST_LOAD_LIMIT_BYTES = 250 * 1024
const COMPRESSIBLE = /\.(js|css|html|svg|json)$/
const SMALLEST_WORTH_BYTES = 1024

function listFiles(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    return statSync(path).isDirectory() ? listFiles(path) : [path]
  })
}

function compress(path: string): void {
  const content = readFileSync(path)
  if (content.length < SMALLEST_WORTH_BYTES) return
  writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }))
  writeFileSync(`${path}.br`, brotliCompressSync(content))
}

/** Bytes (gzip) of index.html and everything it names: what a browser fetches before the first page. */
function firstLoadBytes(folder: string): number {
  const html = readFileSync(join(folder, 'index.html'), 'utf8')
  const named = [...html.matchAll(/(?:src|href)="\/([^"]+\.(?:js|css))"/g)].map((match) => match[1] ?? '')
  return ['index.html', ...named]
    .map((name) => gzipSync(readFileSync(join(folder, name))).length)
    .reduce((sum, bytes) => sum + bytes, 0)
}

/** Compress the built files; fail the build when the first load is over the limit. */
export function deliver(): Plugin {
  let folder = ''
  return {
    name: 'deliver',
    apply: 'build',
    configResolved: (config) => {
      folder = config.build.outDir
    },
    closeBundle: () => {
      const bytes = firstLoadBytes(folder)
      if (bytes > FIRST_LOAD_LIMIT_BYTES) {
        throw new Error(`first load is ${bytes} bytes gzip, the limit is ${FIRST_LOAD_LIMIT_BYTES}`)
      }
      listFiles(folder)
        .filter((path) => COMPRESSIBLE.test(path))
        .forEach(compress)
      console.info(`first load ${(bytes / 1024).toFixed(0)} KiB gzip`)
    },
  }
}
