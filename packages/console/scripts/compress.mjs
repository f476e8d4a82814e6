// Puts a .gz beside each file of dist/, which the hub sends as it is, and fails when the page has grown too large.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

/** Bytes that a first visit may cost: 60 KB are less than a second on a slow phone line. */
const MOST = 60 * 1024

const dist = fileURLToPath(new URL('../dist', import.meta.url))
let total = 0
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || entry.name.endsWith('.gz')) continue
  const path = join(entry.parentPath, entry.name)
  const packed = gzipSync(readFileSync(path), { level: 9 })
  writeFileSync(`${path}.gz`, packed)
  total += packed.length
}
console.log(`console: ${(total / 1024).toFixed(1)} KB gzip of ${MOST / 1024}`)
if (total > MOST) {
  console.error('That is too much.')
  process.exitCode = 1
}
