// How many bytes a page loads for each entry: minified, gzip at its best. Fails when the SSE path has grown beyond its bound.
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { rolldown } from 'rolldown'

/** The most that a page may load before its first event over SSE, in bytes. */
const BOUND = 8_192

const source = path => fileURLToPath(new URL(`../src/${path}`, import.meta.url))

const createClient = `export { createClient } from ${JSON.stringify(source('index.ts'))}`

/** What a page imports, and which of its chunks are counted: those that come with it, or one that comes when it is needed. */
const ENTRIES = [
  { name: 'client, over SSE', code: createClient },
  { name: '+ websocket, when it is needed', code: createClient, chunk: 'transports/websocket.ts' },
  { name: '+ poll, when it is needed', code: createClient, chunk: 'transports/poll.ts' },
  { name: '+ one connection for all pages', code: createClient, chunk: 'share/index.ts' },
  { name: 'jobs', entry: 'jobs.ts' },
  { name: 'pending', entry: 'pending.ts' },
  { name: 'event-source', entry: 'event-source.ts' },
  { name: 'worker, all in one', entry: 'worker.ts', whole: true },
]

const rows = []
for (const entry of ENTRIES) rows.push({ ...entry, ...(await measure(entry)) })

console.log('entry                            minified     gzip')
for (const { name, bytes, zipped } of rows) {
  console.log(`${name.padEnd(32)} ${`${bytes}`.padStart(8)} ${`${zipped}`.padStart(8)}`)
}
const [{ zipped }] = rows
if (zipped > BOUND) {
  console.error(`\nThe SSE path is ${zipped - BOUND} bytes beyond its bound of ${BOUND}.`)
  process.exitCode = 1
}

/** The bytes of an entry with all that it loads at once, or of one chunk with what only that loads. */
async function measure({ code, entry, chunk, whole }) {
  const bundle = await rolldown({
    input: entry ? source(entry) : 'entry',
    platform: 'browser',
    treeshake: true,
    logLevel: 'silent',
    plugins: [
      {
        name: 'entry',
        resolveId: id => (id === 'entry' ? id : undefined),
        load: id => (id === 'entry' ? code : undefined),
      },
    ],
  })
  const { output } = await bundle.generate({ format: 'esm', minify: true, codeSplitting: !whole })
  await bundle.close()
  const chunks = new Map(output.filter(({ type }) => type === 'chunk').map(made => [made.fileName, made]))
  const first = loaded(chunks, [...chunks.values()].find(({ isEntry }) => isEntry))
  if (!chunk) return sizeOf(first)
  const later = [...chunks.values()].find(({ facadeModuleId }) => facadeModuleId === source(chunk))
  if (!later) throw new Error(`${chunk} has no chunk of its own: it comes with every page`)
  return sizeOf([...loaded(chunks, later)].filter(made => !first.has(made)))
}

/** A chunk with those that it imports at once. */
function loaded(chunks, chunk, all = new Set()) {
  if (!chunk || all.has(chunk)) return all
  all.add(chunk)
  for (const name of chunk.imports) loaded(chunks, chunks.get(name), all)
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
