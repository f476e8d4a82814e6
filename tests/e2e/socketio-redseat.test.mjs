// The media server's two transports side by side: the same events to the same people, wrapped on /sse and bare on /socket.io/.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { EventSource } from 'eventsource'
import { io } from 'socket.io-client'
import { listen, PUBLISHER, startProfile } from './harness/profile.mjs'
import { startChromium } from './harness/chromium.mjs'
import { startProxy } from './harness/proxy.mjs'
import { openSocket } from './harness/websocket.mjs'
import { Counter, Ledger } from './harness/count.mjs'
import { until } from './harness/wait.mjs'

const lib = (id, role) => ({ id, role })
const PEOPLE = {
  reader: { id: 'u1', name: 'A', role: 'user', preferences: { dark: true }, libraries: [lib('lib1', 'read')] },
  writer: { id: 'u2', role: 'user', libraries: [lib('lib1', 'write')] },
  keeper: { id: 'u3', role: 'user', libraries: [lib('lib1', 'admin'), lib('lib2', 'read')] },
  other: { id: 'u4', role: 'user', libraries: [lib('lib2', 'admin')] },
  chief: { id: 'u5', role: 'admin', libraries: [] },
  guest: { id: 'u6', role: 'guest', libraries: [] },
}
const SHARES = { file: { id: 's1', role: 'share', libraries: [lib('lib1', 'read')] } }
const answer = ({ url, headers }) => {
  if (url !== '/users/me') return 404
  if (headers.authorization) return PEOPLE[headers.authorization.replace('Bearer ', '')]
  return SHARES[headers.sharetoken]
}
const start = (t, options) => startProfile(t, 'redseat', { answer, ...options })

const READ = ['reader', 'writer', 'keeper', 'chief'], ADMIN = ['keeper', 'chief'], SERVER = ['chief'], LIB2 = ['keeper', 'other', 'chief']
const library = 'lib1', secrets = { credentials: { key: 'SECRET' }, password: 'SECRET' }
const backup = (library) => ({ action: 'updated', backup: { backup: { id: 'b1', name: 'B', ...secrets, library }, status: { library, backup: 'b1' } } })
// The permission table of the contract: what is posted, and who is told.
const EVENTS = [
  ['library', { action: 'added', library: { id: 'lib1', name: 'Photos', root: '/data/p', ...secrets } }, READ],
  ['library-status', { message: 'delete-started', library, progress: 30 }, ADMIN],
  ['medias', { library, medias: [{ action: 'added', media: { id: 'm1' } }, { action: 'deleted', media: { id: 'm2' } }] }, READ],
  ['medias', { library: 'lib2', medias: [{ action: 'added', media: { id: 'm3' } }] }, LIB2],
  ['upload_progress', { library, progress: { id: 'up1', total: 10, current: 5 }, remainingSecondes: null }, READ],
  ['convert_progress', { library, mediaId: 'm1', progress: 0.4, status: 'processing' }, READ],
  ['episodes', { library, episodes: [{ action: 'added', episode: { serie: 's1', number: 2 } }] }, READ],
  ['series', { library, series: [{ action: 'updated', serie: { id: 's1', imdbRating: 8.12 } }] }, READ],
  ['movies', { library, movies: [{ action: 'deleted', movie: { id: 'mv1' } }] }, READ],
  ['people', { library, people: [{ action: 'added', person: { id: 'p1' } }] }, READ],
  ['tags', { library, tags: [{ action: 'updated', tag: { id: 't1' } }] }, READ],
  ['books', { library, books: [{ action: 'added', book: { id: 'bk1' } }] }, READ],
  ['backups', backup('lib1'), ADMIN],
  ['backups', backup(null), SERVER],
  ['backups-files', { library, file: 'f', progress: 5 }, SERVER],
  ['media_progress', { library, progress: { mediaRef: 'm1', userRef: 'u1', progress: 61000, modified: 1 } }, ['reader']],
  ['media_progress', { library, progress: { mediaRef: 'm1', userRef: 'u6', progress: 61000, modified: 1 } }, ['guest']],
  ['media_rating', { library, rating: { mediaRef: 'm1', userRef: 'u5', rating: 4.5, modified: 1 } }, ['chief']],
  ['unwatched', { type: 'movie', ids: ['imdb:tt1'], userRef: 'u4', modified: 1 }, ['other']],
]
// Comes last, and each hears their own: then all that was due has come.
const LAST = Object.values(PEOPLE).map(({ id }) => ({ name: 'watched', data: { type: 'movie', id: 'imdb:tt1', userRef: id, date: 1 } }))
const NAMES = [...new Set(EVENTS.map(([name]) => name)), 'watched']

/** A Socket.IO client of the app. `heard` is what came, `[name, …arguments]`, `auth` what it was told of itself. */
async function connect(t, base, auth, more) {
  const socket = io(base, { forceNew: true, auth, reconnectionDelay: 20, reconnectionDelayMax: 100, ...more })
  t.after(() => socket.close())
  const client = { socket, heard: [], auth: [], reasons: [] }
  socket.onAny((name, ...args) => (name === 'auth' ? client.auth : client.heard).push(name === 'auth' ? args : [name, ...args]))
  socket.on('disconnect', reason => client.reasons.push(reason))
  await until('to be told who it is, or to be sent away', () => client.auth.length || client.reasons.length)
  return client
}
const done = ({ heard }) => heard.some(([name]) => name === 'watched')
/** The one member of a wrapped message. */
const bare = wrapped => {
  const [message, ...more] = Object.values(wrapped)
  assert.deepEqual(more, [])
  return message
}

for (const variants of [[], ['code'], ['reduced-library']]) {
  test(`a browser tab on /sse and a Socket.IO client with the same grants see the same events${variants.map(v => `, with ${v}`)}`, async t => {
    const { hub, post } = await start(t, { variants })
    const browser = await startChromium(t)
    const context = await browser.newContext()
    const sides = {}
    for (const [who, person] of Object.entries(PEOPLE)) {
      const page = await context.newPage()
      await page.goto(`${hub.url}/health`)
      await page.evaluate(([who, names]) => {
        window.heard = []
        const source = new EventSource(`/sse?token=${who}`)
        for (const name of names) source.addEventListener(name, ({ data }) => window.heard.push([name, JSON.parse(data)]))
        return new Promise(done => source.addEventListener('tidings.open', done, { once: true }))
      }, [who, NAMES])
      const client = await connect(t, hub.url, { token: who }, { transports: ['websocket'] })
      assert.deepEqual(client.auth, [[{ server: person }]], 'who it is, before anything else')
      sides[who] = { page, client }
    }
    for (const [name, data] of EVENTS) await post({ name, data })
    await post(LAST)
    for (const [who, { page, client }] of Object.entries(sides)) {
      const heard = () => page.evaluate(() => window.heard)
      await until(`${who} to hear the last on both`, async () => done(client) && done({ heard: await heard() }))
      const tab = await heard()
      assert.deepEqual(tab.map(([name]) => name), [...EVENTS.filter(([, , sees]) => sees.includes(who)).map(([name]) => name), 'watched'], who)
      assert.deepEqual(client.heard, tab.map(([name, wrapped]) => [name, bare(wrapped)]), who)
      // Secrets only where they are due.
      assert.equal(JSON.stringify(client.heard).includes('SECRET'), who === 'keeper' || who === 'chief', who)
    }
  })
}

test('byte for byte the one is what the other wraps', async t => {
  const { hub, post } = await start(t)
  const stream = await listen(t, `${hub.url}/sse?token=chief`)
  const socket = openSocket(t, `${hub.url}/socket.io/?EIO=4&transport=websocket`)
  await socket.gets(1)
  socket.send('40{"token":"chief"}')
  assert.match((await socket.gets(3))[2], /^42\["auth",\{"server":\{/)
  for (const [name, data] of EVENTS) await post({ name, data })
  await post(LAST)
  await until('the last', () => done(stream))
  await socket.gets(3 + stream.heard.length)
  assert.deepEqual(socket.messages.slice(3), stream.heard.map(([name, , text]) => `42["${name}",${text.replace(/^\{"\w+":/, '').slice(0, -1)}]`))
})

test('a token that is wrong, or none, is disconnected without a word, and a stock client stays away', async t => {
  const { hub, app } = await start(t)
  for (const auth of [{ token: 'wrong' }, {}, { token: '' }, { token: 7 }, { sharetoken: 'wrong' }, { key: 'reader' }, { token: 'file' }]) {
    for (const transports of [['websocket'], ['polling']]) {
      const client = await connect(t, hub.url, auth, { transports, reconnectionDelay: 1, reconnectionDelayMax: 1 })
      assert.deepEqual([client.reasons, client.auth, client.heard, client.socket.active], [['io server disconnect'], [], [], false], JSON.stringify(auth))
      await until('its transport to be closed', () => client.socket.io.engine.readyState === 'closed')
    }
  }
  const asked = app.asked.length
  const good = await connect(t, hub.url, { token: 'reader' })
  assert.equal(good.reasons.length, 0)
  assert.equal(app.asked.length, asked + 1, 'none of them came again')
})

test('the token may stand in the payload, a header or the query, and a share token too; cookies are not read', async t => {
  const { hub } = await start(t)
  for (const [who, auth, more] of [
    ['reader', { token: 'reader' }, {}],
    ['reader', {}, { extraHeaders: { authorization: 'Bearer reader' } }],
    ['reader', {}, { extraHeaders: { authorization: 'reader' } }],
    ['reader', {}, { query: { token: 'reader' } }],
    ['file', { sharetoken: 'file' }, {}],
    ['file', {}, { extraHeaders: { sharetoken: 'file' } }],
    ['file', {}, { query: { sharetoken: 'file' } }],
    [undefined, {}, { extraHeaders: { cookie: 'token=reader' } }],
  ]) {
    const client = await connect(t, hub.url, auth, { transports: ['websocket'], ...more })
    assert.deepEqual(client.auth, who ? [[{ server: PEOPLE[who] ?? SHARES[who] }]] : [], JSON.stringify([auth, more]))
  }
})

test('?libraries= lets through the same on both', async t => {
  const { hub, post } = await start(t)
  const told = { '': ['lib1', 'lib2', null], 'libraries=lib1': ['lib1', null], 'libraries=lib1,lib2': ['lib1', 'lib2', null], 'libraries=%20lib2%20,': ['lib2', null], 'libraries=': [null], 'libraries=nowhere': [null], 'libraries=*': [null] }
  const sides = {}
  for (const query of Object.keys(told)) {
    // As a stock client sends it: in the query of its address.
    const client = await connect(t, `${hub.url}/?${query}`, { token: 'chief' }, { transports: ['websocket'] })
    sides[query] = { stream: await listen(t, `${hub.url}/sse?token=chief&${query}`), client }
  }
  for (const library of ['lib1', 'lib2', null]) {
    await post({ name: 'backups', data: backup(library) })
    if (library) await post({ name: 'medias', data: { library, medias: [] } })
  }
  await post(LAST)
  for (const [query, { stream, client }] of Object.entries(sides)) {
    await until('the last on both', () => done(stream) && done(client))
    assert.deepEqual(client.heard, stream.heard.map(([name, data]) => [name, bare(data)]), query)
    assert.deepEqual(client.heard.flatMap(([name, data]) => name === 'backups' ? [data.backup.backup.library] : []), told[query], query)
  }
})

test('with anonymous-empty nobody in particular connects and hears nothing, and a wrong token is still disconnected', async t => {
  const { hub, post } = await start(t, { variants: ['anonymous-empty'] })
  const [nobody, chief] = [await connect(t, hub.url, {}), await connect(t, hub.url, { token: 'chief' })]
  for (const [name, data] of EVENTS) await post({ name, data })
  await post(LAST)
  await until('the last', () => done(chief))
  assert.deepEqual([nobody.auth, nobody.heard, nobody.reasons], [[[{ server: null }]], [], []])
  assert.deepEqual((await connect(t, hub.url, { token: 'wrong' })).reasons, ['io server disconnect'])
})

test('a page of any origin comes with its token, polls and upgrades', async t => {
  const { hub, post } = await start(t)
  const elsewhere = await startProxy(t, hub) // another port is another origin
  const page = await (await startChromium(t)).newPage()
  await page.goto(`${elsewhere.url}/health`)
  await page.addScriptTag({ path: new URL('./node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url).pathname })
  await page.evaluate(url => {
    window.heard = []
    for (const transports of [['polling'], ['polling', 'websocket']]) {
      const socket = window.io(url, { transports, forceNew: true, auth: { token: 'reader' } })
      socket.on('auth', ({ server }) => window.heard.push(`auth ${server.id} ${transports}`))
      socket.on('medias', ({ library }) => window.heard.push(`medias ${library} ${socket.io.engine.transport.name}`))
      socket.io.engine.on('upgrade', () => window.heard.push('upgrade'))
    }
  }, hub.url)
  const heard = () => page.evaluate(() => window.heard.toSorted())
  await until('both to connect, and one to upgrade', async () => (await heard()).length === 3)
  await post({ name: 'medias', data: { library, medias: [] } })
  await until('both to hear', async () => (await heard()).length === 5)
  assert.deepEqual(await heard(), ['auth u1 polling', 'auth u1 polling,websocket', 'medias lib1 polling', 'medias lib1 websocket', 'upgrade'])
})

test('who is revoked is gone from both', async t => {
  const { hub } = await start(t)
  const [stream, client, other] = [await listen(t, `${hub.url}/sse?token=reader`), await connect(t, hub.url, { token: 'reader' }), await connect(t, hub.url, { token: 'writer' })]
  const headers = { 'content-type': 'application/json', ...PUBLISHER }
  const revoked = await fetch(`${hub.url}/v1/revoke`, { method: 'POST', headers, body: JSON.stringify({ principal: 'u1', profile: 'redseat' }) })
  assert.equal(revoked.status, 200)
  await until('both to end', () => stream.code() !== undefined && client.reasons.length)
  assert.deepEqual([client.reasons, client.socket.active, other.reasons], [['io server disconnect'], false, []])
})

test('with resume both see every event once and in order through cuts and a crash', async t => {
  const { hub } = await start(t, { variants: ['resume'], changes: { 'heartbeat_every = "30s"': 'heartbeat_every = "30s"\nretry = "50ms"' } })
  const proxy = await startProxy(t, hub)
  const ledgers = { sse: new Ledger(), socketio: new Ledger() }
  const source = new EventSource(`${proxy.url}/sse?token=reader`)
  t.after(() => source.close())
  source.addEventListener('medias', ({ data }) => ledgers.sse.note(JSON.parse(data).Medias.n))
  const { socket } = await connect(t, proxy.url, { token: 'reader' })
  socket.on('medias', ({ n }) => ledgers.socketio.note(n))
  const both = step => Promise.all(Object.values(ledgers).map(step))
  const counter = new Counter(hub, { event: n => ({ name: 'medias', data: { library, medias: [], n } }), headers: PUBLISHER, profile: 'redseat' })
  t.after(() => counter.abandon())
  for (const disturb of [proxy.cut, () => hub.crash(), proxy.cut]) {
    await both(ledger => ledger.grows())
    await disturb()
  }
  await both(ledger => ledger.grows())
  const last = await counter.stop()
  await both(ledger => ledger.reaches(last))
  for (const ledger of Object.values(ledgers)) ledger.assertUnbroken()
  assert.equal(socket.recovered, true)
})
