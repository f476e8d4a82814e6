// A busy hub to look at: people on every transport, events of a library, jobs in every state. For pictures.
import http from 'node:http'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { startHub } from './hub.mjs'
import { ask, claim } from './jobs.mjs'

const OPERATOR = 'tdg_the-key-of-the-operator-of-the-demo'
const PEOPLE = ['anna', 'ben', 'carla', 'dmitri', 'elif', 'farid', 'grace', 'hugo', 'ines', 'jonas', 'kim', 'lea', 'mona', 'nils']
const TITLES = ['The Left Hand of Darkness', 'A Wizard of Earthsea', 'Middlemarch', 'Kindred', 'Persuasion', 'Solaris', 'The Dispossessed', 'Emma', 'Jane Eyre', 'Walden']
const keyOf = name => `tdg_the-key-of-${name}-in-the-demo`
const bearer = name => ({ authorization: `Bearer ${name === 'operator' ? OPERATOR : keyOf(name)}` })
const pick = list => list[Math.floor(Math.random() * list.length)]
const number = most => Math.floor(Math.random() * most)

const key = (name, grants) => `{ name = "${name}", value = "${keyOf(name)}", grants = ${JSON.stringify(grants)} }`
const keys = PEOPLE.map(name => key(name, [`user/${name}`]))
const readers = PEOPLE.map((name, n) => key(name, ['library/lib1/read', ...(n % 3 ? [] : ['library/*/read'])]))

const PROFILE = `
  name = "books"
  description = "Books, and the libraries that they stand in."
  [[auth.sources]]
  kind = "api-key"
  keys = [${readers.join(', ')}]
  [[mounts]]
  transport = "sse"
  path = "/books/events"
  [events."book.updated"]
  topic = "library/{data.library}/book/{data.id}"
  audience = "library/{data.library}/read"
  [events."book.updated".schema]
  type = "object"
  required = ["id", "library", "status"]
  [events."book.updated".schema.properties]
  id = { type = "integer", description = "The number of the book" }
  library = { type = "string", description = "Where it stands" }
  status = { enum = ["wanted", "grabbed", "imported"] }
  title = { type = "string" }
  pages = { type = ["integer", "null"] }
  [events."library.scanned"]
  topic = "library/{data.library}"
  audience = "library/{data.library}/read"
`

/** Starts it; it goes on until the test ends. `refused` is a principal who may not see the event at `cursor`. */
export async function startDemo(t) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-demo-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  await writeFile(join(home, 'books.toml'), PROFILE)
  const hub = await startHub(t, {
    config: `
      [[auth.sources]]
      kind = "api-key"
      keys = [{ name = "operator", value = "${OPERATOR}", publish = true, operator = true, grants = ["**"] }, ${keys.join(', ')}]
      [[profiles]]
      path = "${home}/books.toml"
    `,
  })
  let running = true
  t.after(() => { running = false })
  const publish = (events, profile) => hub.publish(events, { headers: bearer('operator'), profile })
  listen(t, hub, () => running)
  await startJobs(t, hub, () => running)
  const [{ cursor }] = await publish({ name: 'book.updated', data: { id: 7, library: 'lib2', status: 'imported', title: 'Solaris', pages: 204 } }, 'books')
  void keepPublishing(publish, () => running)
  return { hub, key: OPERATOR, cursor, refused: 'ben', stall: () => stall(t, hub, publish) }
}

function listen(t, hub, running) {
  PEOPLE.forEach((name, n) => {
    sse(t, hub, name, '/books/events')
    if (n % 2) sse(t, hub, name, `/v1/events?topic=user/${name}&topic=queue/*`)
    if (n % 3 === 0) sse(t, hub, name, '/v1/events')
    if (n % 3 === 1) {
      const ws = new WebSocket(`${hub.url.replace('http', 'ws')}/v1/ws?topics=user/${name},queue/**`, { headers: bearer(name) })
      ws.on('error', () => {})
      t.after(() => ws.terminate())
    }
    if (n % 4 === 2) {
      const socket = io(hub.url, { auth: { token: keyOf(name), topics: [`user/${name}`] }, extraHeaders: bearer(name), transports: ['websocket'] })
      t.after(() => socket.close())
    }
  })
  for (const name of ['lea', 'nils']) void poll(hub, name, running)
}

function sse(t, hub, name, path) {
  const request = http.get(hub.url + path, { headers: { ...bearer(name), accept: 'text/event-stream' } }, response => response.resume())
  request.on('error', () => {})
  t.after(() => request.destroy())
}

async function poll(hub, name, running) {
  let cursor = ''
  while (running()) {
    const answer = await fetch(`${hub.url}/v1/poll?topic=user/${name}&wait=20&cursor=${cursor}`, { headers: bearer(name) }).catch(() => undefined)
    if (!answer?.ok) return
    cursor = (await answer.json()).cursor
  }
}

/** One who reads no more, and enough to fill what the network holds for them. */
async function stall(t, hub, publish) {
  const request = http.get(`${hub.url}/v1/events`, { headers: bearer('grace') }, response => response.pause())
  request.on('error', () => {})
  t.after(() => request.destroy())
  await new Promise(done => request.on('response', done))
  const cover = n => ({ name: 'cover.drawn', topic: `cover/${n}`, audience: ['everyone'], data: { id: n, png: 'iVBORw0KGgo'.repeat(5_000) } })
  for (let n = 0; n < 240; n += 6) await publish(Array.from({ length: 6 }, (_, index) => cover(n + index)), 'default')
}

async function keepPublishing(publish, running) {
  for (let n = 0; running(); n++) {
    // Slow waves, as people come and go.
    const most = 3 + 3 * Math.sin(n / 90) + (n % 400 < 60 ? 5 : 0)
    try {
      await publish(Array.from({ length: 1 + number(most) }, book), 'books')
      await publish(Array.from({ length: 1 + number(most / 2) }, other), 'default')
    } catch { return }
    await new Promise(done => setTimeout(done, 90))
  }
}

function book() {
  const library = pick(['lib1', 'lib1', 'lib2', 'lib3'])
  if (Math.random() < 0.15) return { name: 'library.scanned', data: { library, files: 12_031, added: number(9), ms: 800 + number(400) } }
  return { name: 'book.updated', data: { id: number(90), library, status: pick(['wanted', 'grabbed', 'imported']), title: pick(TITLES), pages: 100 + number(700) } }
}

function other() {
  const [name, id] = [pick(PEOPLE), number(40)]
  return pick([
    { name: 'shelf.changed', topic: `user/${name}/shelf`, audience: [`user/${name}`], data: { added: [id], removed: [] } },
    { name: 'queue.changed', topic: 'queue/downloads', audience: ['everyone'], data: { action: pick(['added', 'moved', 'removed']), id, place: number(9) } },
    { name: 'download.progress', topic: `queue/${id}`, audience: ['everyone'], key: `${id}`, signal: true, data: { id, done: number(100), of: 100 } },
    { name: 'user.seen', topic: `user/${name}`, audience: [`user/${name}`], data: { device: pick(['phone', 'desk', 'reader']) } },
  ])
}

async function startJobs(t, hub, running) {
  const token = OPERATOR
  const make = (kind, id, owner) => ask(`${hub.url}/v1/jobs?profile=default`, { token, body: { kind, id, owner, attempts: 3 } })
  const next = async (kind, id, owner) => {
    await make(kind, id, owner)
    return claim(hub, kind, { key: OPERATOR, profile: 'default', lease: '300s' })
  }
  const say = (worker, what, body) => ask(`${hub.url}/v1/jobs/${worker.job.id}/${what}`, { token: worker.lease, body })
  const exported = await next('import', 'goodreads-export', 'anna')
  await exported.hand([{ title: 'Emma', authors: ['Jane Austen'], isbn: '9780141439587' }, { title: 'Kindred', authors: ['Octavia E. Butler'], isbn: '9780807083697' }])
  await exported.progress(512, 512)
  await exported.complete({ imported: 511, failed: 1, seconds: 18.2 })
  const broken = await next('import', 'old-list', 'hugo')
  await broken.progress(100, 612)
  await say(broken, 'fail', { error: { code: 'bad-file', message: 'line 101 has 7 columns, 23 are due' } })
  await make('encode', 'ep-199', 'mona')
  await ask(`${hub.url}/v1/jobs/ep-199?profile=default`, { method: 'DELETE', token })
  const pages = await next('scan', 'lib1-nightly', undefined)
  const encode = await next('encode', 'ep-204', 'mona')
  const covers = await next('cover', 'draw-covers', 'lea')
  const list = await next('import', 'storygraph', 'carla')
  await make('encode', 'ep-205', 'mona')
  await make('scan', 'lib2-nightly', undefined)
  void (async () => {
    for (let n = 0; running(); n++) {
      try {
        await pages.progress(Math.min(12_000, 2_100 + n * 60), 12_031, { message: `/books/${pick(TITLES).toLowerCase().replaceAll(' ', '-')}.epub` })
        await encode.progress(Math.min(99, 24 + Math.floor(n / 3)), 100, { message: 'second pass' })
        await covers.progress(61 + n, undefined, { message: pick(TITLES) })
        await list.progress(Math.min(890, 230 + n * 4), 900, { message: pick(TITLES) })
      } catch { return }
      await new Promise(done => setTimeout(done, 1_500))
    }
  })()
}
