// The apps' own contracts, with clients that know nothing of the hub.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { EventSource } from 'eventsource'
import { PUBLISHER, startProfiles } from './harness/app.mjs'
import { run } from './harness/hub.mjs'
import { startChromium } from './harness/chromium.mjs'
import { curl, startCurl } from './harness/curl.mjs'
import { Counter, Ledger } from './harness/count.mjs'
import { until } from './harness/wait.mjs'
import { SseClient } from './clients/sse-client.mjs'

const post = (hub, profile, events) => hub.publish(events, { profile, headers: PUBLISHER })

/** npm eventsource with headers of its own, as its documentation shows. */
const withHeaders = headers => ({ fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }) })

async function opened(source) {
  let open = false
  source.addEventListener('tidings.open', () => { open = true })
  await until('the stream to open', () => open)
}

test('a Chromium page and a curl on /sse?libraries=lib1 see only what each may see, through kill -9', async t => {
  const hub = await startProfiles(t)
  // One after the other, each kind has other eyes: a reader of lib1 (u1) and its admin (u2) both ask for lib1 alone.
  const kinds = [
    { sees: ['u1', 'u2'], event: n => ({ name: 'medias', data: { library: 'lib1', n, medias: [{ action: 'added', media: { id: `m${n}` } }] } }) },
    { sees: ['u2'], event: n => ({ name: 'library-status', data: { library: 'lib1', n, message: 'delete-started' } }) },
    { sees: [], event: n => ({ name: 'medias', data: { library: 'lib2', n, medias: [] } }) },
    { sees: ['u1'], event: n => ({ name: 'media_progress', data: { library: 'lib1', n, progress: { userRef: 'u1', mediaRef: 'm1', progress: n } } }) },
    { sees: ['u2'], event: n => ({ name: 'media_rating', data: { library: 'lib1', n, rating: { userRef: 'u2', mediaRef: 'm1', rating: 5 } } }) },
    { sees: [], event: n => ({ name: 'backups-files', data: { library: 'lib1', n, file: 'f', progress: 1 } }) },
  ]
  const kind = n => kinds[n % kinds.length]
  const names = [...new Set(kinds.map(kind => kind.event(0).name))]

  const browser = await startChromium(t)
  const page = await browser.newPage()
  await page.goto(`${hub.url}/health`)
  await page.evaluate(names => {
    document.body.replaceChildren()
    const source = new EventSource('/sse?libraries=lib1&token=reader')
    source.addEventListener('tidings.open', () => { document.body.dataset.open = 'yes' })
    for (const name of names) {
      source.addEventListener(name, event => {
        const line = document.createElement('p')
        line.textContent = Object.values(JSON.parse(event.data))[0].n
        document.body.append(line)
      })
    }
  }, names)
  const shown = new Ledger(() => page.locator('p').allTextContents().then(all => all.map(Number)))
  const printed = new Ledger()
  let curlOpen = false
  startCurl(t, `${hub.url}/sse?libraries=lib1`, ({ event, data }) => {
    if (names.includes(event)) printed.note(Object.values(JSON.parse(data))[0].n)
    else curlOpen = true
  }, { headers: { Authorization: 'Bearer keeper' } })
  await until('both streams to open', async () => curlOpen && await page.locator('body[data-open]').count())

  const counter = new Counter(hub, { event: n => kind(n).event(n), profile: 'redseat', headers: PUBLISHER })
  t.after(() => counter.abandon())
  for (let crash = 0; crash < 3; crash++) {
    await Promise.all([shown.grows(10), printed.grows(10)])
    await hub.crash()
  }
  await Promise.all([shown.grows(10), printed.grows(10)])
  const last = await counter.stop()
  const all = Array.from({ length: last }, (_, i) => i + 1)
  for (const [who, ledger] of [['u1', shown], ['u2', printed]]) {
    const due = all.filter(n => kind(n).sees.includes(who))
    await ledger.reaches(due.at(-1))
    assert.deepEqual(ledger.numbers, due, `what ${who} saw`)
  }
})

test("the media server's documented client hears all fourteen names in their documented form", async t => {
  const hub = await startProfiles(t)
  const heard = []
  const client = new SseClient(EventSource, (name, data) => heard.push({ name, data }))
  client.connect(`${hub.url}/sse?token=chief`)
  t.after(() => client.disconnect())
  await opened(client.eventSource)
  const library = 'lib1'
  const events = {
    library: { action: 'updated', library: { id: library, name: 'Photos', credentials: 'secret' } },
    'library-status': { message: 'delete-started', library, progress: 30 },
    medias: { library, medias: [{ action: 'added', media: { id: 'm1' } }, { action: 'deleted', media: { id: 'm2' } }] },
    upload_progress: { library, mediaId: 'm1', progress: { id: 'up1', total: 10, current: 5 } },
    convert_progress: { library, mediaId: 'm1', progress: { id: 'c1', percent: 0.4 }, status: 'processing' },
    episodes: { library, episodes: [{ action: 'added', episode: { serie: 's1', season: 1, number: 2 } }] },
    series: { library, series: [{ action: 'updated', serie: { id: 's1' } }] },
    movies: { library, movies: [{ action: 'added', movie: { id: 'mv1' } }] },
    people: { library, people: [{ action: 'added', person: { id: 'p1' } }] },
    tags: { library, tags: [{ action: 'deleted', tag: { id: 't1' } }] },
    backups: { action: 'updated', backup: { library, backup: 'b1', status: 'inProgress' } },
    'backups-files': { library, file: 'f', progress: 5 },
    media_progress: { library, progress: { userRef: 'u3', mediaRef: 'm1', progress: 61000, modified: 1 } },
    media_rating: { library, rating: { userRef: 'u3', mediaRef: 'm1', rating: 4.5, modified: 1 } },
  }
  const wrappers = [
    'Library', 'LibraryStatus', 'Medias', 'UploadProgress', 'ConvertProgress', 'Episodes', 'Series', 'Movies', 'People', 'Tags',
    'Backups', 'BackupsFiles', 'MediaProgress', 'MediaRating',
  ]
  for (const [name, data] of Object.entries(events)) await post(hub, 'redseat', { name, data })
  await until(() => `all names; ${heard.map(({ name }) => name)} came`, () => heard.length >= 14)
  assert.deepEqual(heard.map(({ name }) => name), Object.keys(events))
  assert.deepEqual(heard.map(({ data }) => Object.keys(data)), wrappers.map(wrapper => [wrapper]))
  assert.deepEqual(heard[2].data.Medias.medias.map(({ action }) => action), ['Added', 'Deleted'])
  assert.deepEqual(heard[12].data, { MediaProgress: events.media_progress })
})

test('tidings explain says why the one did not get what the other got', async t => {
  const hub = await startProfiles(t)
  for (const who of ['reader', 'keeper']) {
    const source = new EventSource(`${hub.url}/sse?libraries=lib1&token=${who}`)
    t.after(() => source.close())
    await opened(source)
  }
  const [{ cursor }] = await post(hub, 'redseat', { name: 'library-status', data: { library: 'lib1', message: 'delete-started' } })
  const explain = principal => run('explain', '--url', hub.url, '--token', PUBLISHER['x-api-key'], '--cursor', cursor, '--principal', principal)
  const [reader, keeper] = [await explain('u1'), await explain('u2')]
  assert.deepEqual([reader.code, keeper.code], [0, 0], reader.out + keeper.out)
  assert.match(reader.out, /library\/lib1\/admin[\s\S]*→ not given/)
  assert.match(keeper.out, /→ given/)
})

test('a reader of a library is not told how to reach its store', async t => {
  const hub = await startProfiles(t)
  const seen = {}
  for (const who of ['reader', 'keeper']) {
    const source = new EventSource(`${hub.url}/sse?token=${who}`)
    t.after(() => source.close())
    source.addEventListener('library', ({ data }) => { seen[who] = JSON.parse(data).Library.library })
    await opened(source)
  }
  await post(hub, 'redseat', { name: 'library', data: { action: 'updated', library: { id: 'lib1', credentials: 's3cret', name: 'Photos' } } })
  await until('both to hear', () => seen.reader && seen.keeper)
  assert.deepEqual(seen, {
    reader: { id: 'lib1', credentials: null, name: 'Photos' },
    keeper: { id: 'lib1', credentials: 's3cret', name: 'Photos' },
  })
})

test('without a credential, or with a wrong one, the media stream is refused and nothing is streamed', async t => {
  const hub = await startProfiles(t)
  assert.equal((await curl(`${hub.url}/sse`)).status, 401)
  assert.equal((await curl(`${hub.url}/sse?token=wrong`)).status, 401)
})

test("the book downloader's stream opens by key in the query, by key in the header and by session", async t => {
  const hub = await startProfiles(t)
  const path = `${hub.url}/api/v1/events`
  const sources = {
    query: new EventSource(`${path}?apikey=book-key`),
    header: new EventSource(path, withHeaders({ 'X-Api-Key': 'book-key' })),
    session: new EventSource(path, withHeaders({ cookie: 'bindery_session=v3.ab' })),
  }
  const heard = {}
  for (const [way, source] of Object.entries(sources)) {
    t.after(() => source.close())
    source.addEventListener('book.updated', event => { heard[way] = event.data })
  }
  await Promise.all(Object.values(sources).map(opened))
  const data = { id: 42, status: 'imported', filePath: '/books/a.epub', ebookFilePath: '/books/a.epub', audiobookFilePath: '' }
  await post(hub, 'bindery', { name: 'book.updated', data, scope: { owner: 2 } })
  await until('all three to hear', () => Object.keys(heard).length === 3)
  for (const way of Object.keys(sources)) assert.deepEqual(JSON.parse(heard[way]), data)

  for (const query of ['', '?apikey=wrong']) {
    const answer = await curl(path + query)
    assert.equal(answer.status, 401)
    assert.deepEqual(JSON.parse(answer.body), { error: 'unauthorized' })
  }
})

test("whoever opens the book downloader's page late is told how far the refresh is", async t => {
  const hub = await startProfiles(t)
  const progress = done => ({ name: 'author.refresh.progress', data: { status: 'running', total: 120, done, failed: 0, started_at: '2026-06-16T10:00:00Z' } })
  await post(hub, 'bindery', progress(33))
  await post(hub, 'bindery', progress(34))
  const source = new EventSource(`${hub.url}/api/v1/events?apikey=book-key`)
  t.after(() => source.close())
  const told = []
  source.addEventListener('author.refresh.progress', ({ data }) => told.push(JSON.parse(data).done))
  await until('the last progress', () => told.length)
  await post(hub, 'bindery', progress(35))
  await until('the next', () => told.includes(35))
  assert.deepEqual(told, [34, 35])
})

test("the parts database's stream has a named heartbeat without an id, the server's state on connect, and is counted by /ready", async t => {
  const hub = await startProfiles(t)
  await post(hub, 'silo', { name: 'server.state', data: { mode: 'normal' } })
  const events = []
  const stream = startCurl(t, `${hub.url}/api/events`, event => events.push(event), { headers: { Authorization: 'Bearer silo_viewer' } })
  await until('the state and a heartbeat', () => events.some(({ event }) => event === 'server.state') && events.some(({ event }) => event === 'heartbeat'))
  assert.deepEqual(JSON.parse(events.find(({ event }) => event === 'server.state').data), { mode: 'normal' })
  assert.match(stream.bytes(), /event: heartbeat\ndata: \{\}\n\n/)
  const ready = await curl(`${hub.url}/ready`)
  assert.equal(ready.status, 200)
  assert.equal(JSON.parse(ready.body).sse_clients, 1)
  await stream.stop()
  await until('the count to fall', async () => JSON.parse((await curl(`${hub.url}/ready`)).body).sse_clients === 0)
})

test("the parts database's client resumes with Last-Event-ID, and only a viewer may listen", async t => {
  const hub = await startProfiles(t)
  const source = new EventSource(`${hub.url}/api/events`, withHeaders({ authorization: 'Bearer silo_viewer' }))
  t.after(() => source.close())
  const numbers = []
  source.addEventListener('item.updated', ({ data }) => numbers.push(JSON.parse(data).revision))
  await opened(source)
  const updated = revision => ({ name: 'item.updated', data: { part_number: 'A01-0002', revision } })
  await post(hub, 'silo', updated(1))
  await until('the first', () => numbers.length === 1)
  await hub.crash()
  await post(hub, 'silo', [updated(2), updated(3)])
  await until('the rest', () => numbers.length >= 3)
  assert.deepEqual(numbers, [1, 2, 3])

  const refused = await curl(`${hub.url}/api/events`, '-H', 'Authorization: Bearer silo_guest')
  assert.equal(refused.status, 403)
  assert.deepEqual(JSON.parse(refused.body), { error: 'forbidden' })
})
