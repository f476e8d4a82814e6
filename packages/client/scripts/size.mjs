// How many bytes a page loads for each entry: minified, gzip at its best. Fails when the SSE path has grown beyond its bound.
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { rolldown } from 'rolldown'

/** The most that a page may load before its first event over SSE, in bytes. */
const BOUND = 8_192

const source = path => fileURLToPath(new URL(`../src/${path}`, import.meta.url))

const createClient = `export { createClient } from ${JSON.stringify(source('index.ts'))}`

/** What a page imports; `later` is a part of it that is loaded when it is needed. */
const ENTRIES = [
  { name: 'createClient, over SSE', code: createClient },
  { name: '  websocket, when needed', code: createClient, later: 'transports/websocket.ts' },
  { name: '  poll, when needed', code: createClient, later: 'transports/poll.ts' },
  { name: '  one connection for all pages', code: createClient, later: 'share/index.ts' },
  { name: '  a token provider', code: createClient, later: 'provider.ts' },
  { name: '  client.request', code: createClient, later: 'request.ts' },
  { name: '/jobs', file: 'jobs.ts' },
  { name: '/pending', file: 'pending.ts' },
  { name: '/event-source', file: 'event-source.ts' },
  { name: '/worker', file: 'worker.ts' },
]

const rows = []
for (const entry of ENTRIES) rows.push({ ...entry, ...(await measure(entry)) })

console.log(`${'entry'.padEnd(32)} minified     gzip`)
for (const { name, bytes, zipped } of rows) {
  console.log(`${name.padEnd(32)} ${`${bytes}`.padStart(8)} ${`${zipped}`.padStart(8)}`)
}
const [{ zipped }] = rows
if (zipped > BOUND) {
  console.error(`\nThe SSE path is ${zipped - BOUND} bytes beyond its bound of ${BOUND}.`)
  process.exitCode = 1
}

/** The bytes that come at once; or those of a part that comes later, beyond what is there by then. */
async function measure({ code, file, later }) {
  const chunks = await bundle(code, file, later !== undefined)
  const first = [...chunks.values()].find(({ isEntry }) => isEntry)
  if (!later) return sizeOf([first])
  const part = [...chunks.values()].find(({ facadeModuleId }) => facadeModuleId === source(later))
  if (!part) throw new Error(`${later} comes with every page`)
  const there = withImports(chunks, first)
  return sizeOf([...withImports(chunks, part)].filter(chunk => !there.has(chunk)))
}

/** The chunks by name. Without `split` there is one: what is imported dynamically stays outside. */
async function bundle(code, file, split) {
  const made = await rolldown({
    input: file ? source(file) : 'entry',
    platform: 'browser',
    logLevel: 'silent',
    plugins: [
      {
        name: 'entry',
        resolveId(id, _importer, { kind }) {
          if (id === 'entry') return id
          return kind === 'dynamic-import' && !split ? { id, external: true } : undefined
        },
        load: id => (id === 'entry' ? code : undefined),
      },
    ],
  })
  const { output } = await made.generate({ format: 'esm', minify: true })
  await made.close()
  return new Map(output.filter(({ type }) => type === 'chunk').map(chunk => [chunk.fileName, chunk]))
}

/** A chunk with those that it imports. */
function withImports(chunks, chunk, all = new Set()) {
  if (!chunk || all.has(chunk)) return all
  all.add(chunk)
  for (const name of chunk.imports) withImports(chunks, chunks.get(name), all)
  return all
}

function sizeOf(chunks) {
  let [bytes, zipped] = [0, 0]
  for (const { code } of chunks) {
    bytes += Buffer.byteLength(code)
    zipped += gzipSync(code, { level: 9 }).byteLength
  }
  return { bytes, zipped }
}
