// The media server's contract, statement by statement: every event for every permission, live and afterwards.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createHmac, createSign, generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventSource } from 'eventsource'
import { listen, PUBLISHER, startProfile } from './harness/profile.mjs'
import { curl, startCurl } from './harness/curl.mjs'
import { startChromium } from './harness/chromium.mjs'
import { startProxy } from './harness/proxy.mjs'
import { until } from './harness/wait.mjs'
import { SseClient } from './clients/sse-client.mjs'
import { memory, useSse } from './clients/use-sse.mjs'

const lib = (id, role) => ({ id, role })
const PEOPLE = {
  reader: { id: 'u1', role: 'user', libraries: [lib('lib1', 'read')] },
  writer: { id: 'u2', role: 'user', libraries: [lib('lib1', 'write')] },
  keeper: { id: 'u3', role: 'user', libraries: [lib('lib1', 'admin')] },
  other: { id: 'u4', role: 'user', libraries: [lib('lib2', 'admin')] },
  chief: { id: 'u5', role: 'admin', libraries: [] },
  guest: { id: 'u6', role: 'guest', libraries: [] },
  none: { id: 'u7', role: 'user', libraries: [lib('lib1', 'none')] },
}
const SHARES = {
  file: { role: 'share', libraries: [lib('lib1', 'read')] },
  chief: { id: 's2', role: 'admin', libraries: [] },
}
const answer = ({ url, headers }) => {
  if (url !== '/users/me') return 404
  if (headers.authorization) return PEOPLE[headers.authorization.replace('Bearer ', '')]
  return SHARES[headers.sharetoken]
}
const start = (t, options = {}) => startProfile(t, 'redseat', { answer, ...options })

const READ = ['reader', 'writer', 'keeper', 'chief'], ADMIN = ['keeper', 'chief'], SERVER = ['chief']
const library = 'lib1'
const secrets = { credentials: { key: 'SECRET' }, password: 'SECRET' }
const backup = (library, more = {}) => ({ backup: { backup: { id: 'b1', name: 'B', ...more, library }, status: { library, backup: 'b1', status: 'inProgress' } } })
// [name, message, wrapper in the document, wrapper in the code, who]
const EVENTS = [
  ['library', { action: 'added', library: { id: 'lib1', name: 'Photos', root: '/data/p', settings: {}, ...secrets } }, 'Library', 'library', READ],
  ['library-status', { message: 'delete-media-progress:3/10', library, progress: 30 }, 'LibraryStatus', 'libraryStatus', ADMIN],
  ['medias', { library, medias: [{ action: 'added', media: { id: 'm1', action: 'added' } }, { action: 'deleted', media: { id: 'm2' } }] }, 'Medias', 'medias', READ],
  ['upload_progress', { library, mediaId: 'm1', progress: 50 }, 'UploadProgress', 'uploadProgress', READ],
  ['upload_progress', { library, progress: { id: 'up1', total: 10, current: 5, filename: 'a.mp4', type: { duplicate: 'm9' } }, remainingSecondes: null }, 'UploadProgress', 'uploadProgress', READ],
  ['convert_progress', { library, mediaId: 'm1', progress: 0.4, status: 'processing' }, 'ConvertProgress', 'convertProgress', READ],
  ['episodes', { library, episodes: [{ action: 'added', episode: { serie: 's1', season: 1, number: 2 } }] }, 'Episodes', 'episodes', READ],
  ['series', { library, series: [{ action: 'updated', serie: { id: 's1', imdbRating: 8.12 } }] }, 'Series', 'series', READ],
  ['movies', { library, movies: [{ action: 'deleted', movie: { id: 'mv1' } }] }, 'Movies', 'movies', READ],
  ['people', { library, people: [{ action: 'added', person: { id: 'p1' } }] }, 'People', 'people', READ],
  ['tags', { library, tags: [{ action: 'updated', tag: { id: 't1' } }, { action: 'deleted', tag: { id: 't2' } }] }, 'Tags', 'tags', READ],
  ['books', { library, books: [{ action: 'added', book: { id: 'bk1' } }] }, 'Books', 'books', READ],
  ['backups', { action: 'updated', ...backup('lib1', secrets) }, 'Backups', 'backups', ADMIN],
  ['backups', { action: 'updated', ...backup(null, secrets) }, 'Backups', 'backups', SERVER],
  ['backups', { backup: { id: 'b2', library, status: 'done', ...secrets } }, 'Backups', 'backups', ADMIN],
  ['backups', { backup: { id: 'b3', status: 'done' } }, 'Backups', 'backups', SERVER],
  ['backups-files', { library, file: 'f', progress: 5 }, 'BackupsFiles', 'backupsFiles', SERVER],
  ['backups-files', { library: null, file: 'g', progress: 5 }, 'BackupsFiles', 'backupsFiles', SERVER],
  // Each to one user, whatever they hold in the library; no admin sees it.
  ['media_progress', { library, progress: { mediaRef: 'm1', userRef: 'u1', progress: 61000, modified: 1 } }, 'MediaProgress', 'mediaProgress', ['reader']],
  ['media_progress', { library, progress: { mediaRef: 'm1', userRef: 'u6', progress: 61000, modified: 1 } }, 'MediaProgress', 'mediaProgress', ['guest']],
  ['media_rating', { library, rating: { mediaRef: 'm1', userRef: 'u1', rating: 4.5, modified: 1 } }, 'MediaRating', 'mediaRating', ['reader']],
  ['media_rating', { library, rating: { mediaRef: 'm1', userRef: 'u5', rating: 4.5, modified: 1 } }, 'MediaRating', 'mediaRating', ['chief']],
  ['unwatched', { type: 'movie', ids: ['imdb:tt1'], userRef: 'u3', modified: 1 }, 'Unwatched', 'unwatched', ['keeper']],
]
// Comes last, and each hears their own: then all that was due has come.
const LAST = Object.values(PEOPLE).map(({ id }) => ({ name: 'watched', data: { type: 'movie', id: 'imdb:tt1', userRef: id, date: 1 } }))

const pascal = text => text[0].toUpperCase() + text.slice(1)
/** What `who` is told of a message: wrapped, the actions of the message and of its entries in their case, secrets taken out. */
function told([name, data, document, code, , ], who, form) {
  const message = structuredClone(data)
  const word = form === 'code' ? text => text : pascal
  if (message.action) message.action = word(message.action)
  for (const list of Object.values(message)) if (Array.isArray(list) && list[0]?.action) for (const entry of list) entry.action = word(entry.action)
  const hide = object => { for (const key of ['credentials', 'password']) if (object && key in object) object[key] = null }
  if (name === 'library' && !ADMIN.includes(who)) hide(message.library)
  if (name === 'backups' && who !== 'chief') { hide(message.backup); hide(message.backup.backup) }
  return [name, { [form === 'code' ? code : document]: message }]
}
const due = (who, form) => EVENTS.filter(([, , , , sees]) => sees.includes(who)).map(event => told(event, who, form))
const without = heard => heard.filter(([name]) => name !== 'watched').map(([name, data]) => [name, data])
const url = (hub, query) => `${hub.url}/sse?${query}`
const POLL = {
  '# --- What is told': '[[mounts]]\ntransport = "poll"\npath = "/sse/poll"\n\n# --- What is told',
}

for (const form of ['document', 'code']) {
  test(`in the form of the ${form} each permission is told exactly its events, live, resumed and polled`, async t => {
    const { hub, post } = await start(t, { variants: form === 'code' ? ['code'] : [], changes: POLL })
    const streams = {}
    for (const who of Object.keys(PEOPLE)) streams[who] = await listen(t, url(hub, `token=${who}`))
    const before = streams.reader.lastId()
    for (const [name, data] of EVENTS) await post({ name, data })
    await post(LAST)
    for (const who of Object.keys(PEOPLE)) {
      await until(`${who} to hear the last`, () => streams[who].names().includes('watched'))
      assert.deepEqual(without(streams[who].heard), due(who, form), `${who}, live`)
      const resumed = await listen(t, url(hub, `token=${who}`), { lastId: before })
      await until(`${who} to hear the last again`, () => resumed.names().includes('watched'))
      assert.deepEqual(resumed.heard, streams[who].heard, `${who}, resumed: the same bytes`)
      const poll = await (await fetch(`${hub.url}/sse/poll?token=${who}&cursor=${before}`)).json()
      assert.deepEqual(without(poll.events.map(({ name, data }) => [name, data])), due(who, form), `${who}, polled`)
    }
  })
}

test('the form does not depend on how the app spells the actions', async t => {
  for (const [variants, action] of [[[], 'Added'], [['code'], 'added']]) {
    const { hub, post } = await start(t, { variants })
    const stream = await listen(t, url(hub, 'token=reader'))
    await post(['added', 'Added'].map(word => ({ name: 'medias', data: { library, medias: [{ action: word, media: { id: 'm1' } }] } })))
    await until('both', () => stream.heard.length === 2)
    for (const [, data] of stream.heard) assert.equal(Object.values(data)[0].medias[0].action, action)
  }
})

test('what is retained is told on connect as whoever connects may see it', async t => {
  const { hub, post } = await start(t, { changes: { 'wrap = "Library"\n': 'wrap = "Library"\nretain = true\n' } })
  const [name, data] = EVENTS[0]
  await post({ name, data })
  for (const who of ['reader', 'keeper', 'chief']) {
    const stream = await listen(t, url(hub, `token=${who}`))
    await until(`${who} to be told`, () => stream.heard.length)
    assert.deepEqual(stream.heard[0].slice(0, 2), told(EVENTS[0], who, 'document'))
    assert.equal(stream.bytes().includes('SECRET'), who !== 'reader')
  }
})

test('with reduced-library a reader is told neither where a library lies nor how it is set up', async t => {
  const { hub, post } = await start(t, { variants: ['reduced-library', 'code'] })
  const [reader, keeper] = [await listen(t, url(hub, 'token=reader')), await listen(t, url(hub, 'token=keeper'))]
  const [name, data] = EVENTS[0]
  await post({ name, data })
  await until('both', () => reader.heard.length && keeper.heard.length)
  assert.deepEqual(reader.heard[0][1].library.library, { id: 'lib1', name: 'Photos', root: null, settings: null, credentials: null, password: null })
  assert.deepEqual(keeper.heard[0][1].library.library, data.library)
})

test('?libraries= is split by commas and trimmed, an empty one lets no library through, and what has no library always passes', async t => {
  const { hub, post } = await start(t)
  const queries = {
    '': ['lib1', 'lib2', 'lib 3/x', undefined],
    '&libraries=lib1': ['lib1', undefined],
    '&libraries=lib1,lib2': ['lib1', 'lib2', undefined],
    '&libraries=%20lib1%20,%20lib2%20': ['lib1', 'lib2', undefined],
    '&libraries=lib2,,nowhere,': ['lib2', undefined],
    '&libraries=': [undefined],
    '&libraries=%20,%20': [undefined],
    '&libraries=nowhere': [undefined],
    '&libraries=*': [undefined],
    '&libraries=**': [undefined],
    '&libraries=lib%203%2Fx': ['lib 3/x', undefined],
    '&libraries=LIB1': [undefined],
    '&something=else': ['lib1', 'lib2', 'lib 3/x', undefined],
  }
  const streams = {}
  for (const query of Object.keys(queries)) streams[query] = await listen(t, url(hub, `token=chief${query}`))
  for (const library of ['lib1', 'lib2', 'lib 3/x', undefined]) {
    await post({ name: 'backups-files', data: { library, file: 'f' } })
    await post({ name: 'backups', data: backup(library) })
    if (library) await post({ name: 'media_progress', data: { library, progress: { userRef: 'u5', mediaRef: 'm' } } })
  }
  await post(LAST)
  for (const [query, libraries] of Object.entries(queries)) {
    const stream = streams[query]
    await until('the last', () => stream.names().includes('watched'))
    const seen = name => stream.heard.filter(([heard]) => heard === name).map(([, data]) => Object.values(data)[0])
    assert.deepEqual(seen('backups-files').map(({ library }) => library), libraries, query)
    assert.deepEqual(seen('backups').map(({ backup }) => backup.backup.library), libraries, query)
    assert.deepEqual(seen('media_progress').map(({ library }) => library), libraries.filter(Boolean), query)
  }
})

test('?libraries= does not widen what somebody may see', async t => {
  const { hub, post } = await start(t)
  const stream = await listen(t, url(hub, 'token=reader&libraries=lib1,lib2'))
  await post([{ name: 'medias', data: { library: 'lib2', medias: [] } }, { name: 'medias', data: { library: 'lib1', medias: [] } }])
  await until('lib1', () => stream.heard.length)
  assert.deepEqual(stream.heard.map(([, data]) => data.Medias.library), ['lib1'])
})

test('credentials are a token with or without Bearer, ?token=, SHARETOKEN and ?sharetoken=, in that order; cookies and keys are not', async t => {
  const { hub, app } = await start(t)
  const ask = async (query, ...headers) => {
    const stream = startCurl(t, url(hub, query), () => {}, { again: false, args: ['-i', ...headers.flatMap(h => ['-H', h])] })
    await until('the answer', () => stream.bytes().includes('\r\n\r\n'))
    const status = Number(stream.bytes().split(' ')[1])
    await stream.stop()
    return status
  }
  for (const [expected, query, ...headers] of [
    [200, '', 'Authorization: Bearer reader'],
    [200, '', 'Authorization: reader'],
    [200, 'token=reader'],
    [200, '', 'SHARETOKEN: file'],
    [200, '', 'sharetoken: file'],
    [200, 'sharetoken=file'],
    [200, 'token=wrong', 'Authorization: reader'], // the header wins
    [401, 'token=reader', 'Authorization: wrong'],
    [401, 'token=wrong', 'SHARETOKEN: file'],
    [401, 'sharetoken=wrong'],
    [401, 'sharetoken=reader'], // one kind is not the other
    [401, 'token=file'],
    [401, 'key=reader'],
    [401, 'token='],
    [401, '', 'Cookie: token=reader'],
    [401, ''],
  ]) assert.equal(await ask(query, ...headers), expected, JSON.stringify([query, ...headers]))
  assert.ok(app.asked.every(({ headers }) => headers.cookie === undefined))
})

test('a share token sees what the app says of it, and one of an admin what a server admin sees', async t => {
  const { hub, post } = await start(t)
  const [file, chief] = [await listen(t, url(hub, 'sharetoken=file')), await listen(t, url(hub, 'sharetoken=chief'))]
  await post([
    { name: 'backups-files', data: { library, file: 'f' } }, { name: 'library-status', data: { library, message: 'm' } },
    { name: 'medias', data: { library, medias: [] } },
  ])
  await until('both', () => file.heard.length && chief.names().includes('medias'))
  assert.deepEqual(file.names(), ['medias'])
  assert.deepEqual(chief.names(), ['backups-files', 'library-status', 'medias'])
})

test('with anonymous-empty no credential is 200 and no event, and a wrong one still 401', async t => {
  const beat = { 'heartbeat_every = "30s"': 'heartbeat_every = "1s"' }
  const { hub, post } = await start(t, { variants: ['anonymous-empty', 'bare'], changes: beat })
  const stream = startCurl(t, `${hub.url}/sse`, () => {}, { args: ['-i'], again: false })
  await until('the head', () => stream.bytes().includes('\r\n\r\n'))
  for (const [name, data] of EVENTS) await post({ name, data })
  await post(LAST)
  const pings = () => stream.bytes().split(': ping\n\n').length - 1
  const before = pings()
  await until('two pings more', () => pings() >= before + 2)
  const [head, body] = stream.bytes().split('\r\n\r\n')
  assert.match(head, /^HTTP\/1\.1 200 /)
  assert.match(body, /^(: ping\n\n)+$/)
  assert.equal((await curl(`${hub.url}/sse?token=wrong`)).status, 401)
})

test('with bare nothing but the app\'s own is on the wire', async t => {
  const { hub, post } = await start(t, { variants: ['bare'], changes: { 'heartbeat_every = "30s"': 'heartbeat_every = "1s"' } })
  const stream = startCurl(t, url(hub, 'token=reader'), () => {}, { again: false })
  await until('a ping', () => stream.bytes().includes(': ping\n\n'))
  await post({ name: 'medias', data: { library, medias: [] } })
  await until('the event', () => /medias[\s\S]*\n\n/.test(stream.bytes()))
  assert.match(stream.bytes(), /^(: ping\n\n)+event: medias\ndata: \{"Medias":\{"library":"lib1","medias":\[\]\}\}\n\n(: ping\n\n)*$/)
})

test('with bare the app\'s own are all until the hub stops, and a Last-Event-ID is none of ours', async t => {
  const { hub } = await start(t, { variants: ['bare'] })
  const stream = startCurl(t, url(hub, 'token=reader'), () => {}, { args: ['-H', 'Last-Event-ID: 17'], again: false })
  await until('the first ping', () => stream.bytes().includes(': ping\n\n'))
  hub.process.kill('SIGTERM')
  await until('the end', () => stream.code() !== undefined)
  assert.equal(stream.bytes(), ': ping\n\n')
})

test('with calm only the newest progress of one file is told, and the last always', async t => {
  const { hub, post } = await start(t, { variants: ['calm'] })
  const stream = await listen(t, url(hub, 'token=reader'))
  const progress = (id, current) => ({ name: 'upload_progress', data: { library, progress: { id, current } } })
  await post(Array.from({ length: 100 }, (_, i) => [progress('a', i), progress('b', i)]).flat())
  await post([progress('a', 100), progress('b', 100)])
  const last = id => stream.heard.map(([, data]) => data.UploadProgress.progress).filter(p => p.id === id).at(-1)?.current
  await until('the last of both', () => last('a') === 100 && last('b') === 100)
  assert.ok(stream.heard.length < 20, `${stream.heard.length} of 202 were told`)
})

test('with calm the files of the document\'s form, which has no id, are told apart by their media', async t => {
  const { hub, post } = await start(t, { variants: ['calm'] })
  const stream = await listen(t, url(hub, 'token=reader'))
  const ids = Array.from({ length: 10 }, (_, i) => `m${i}`)
  const ends = (name, more = {}) => ids.map(mediaId => ({ name, data: { library, mediaId, progress: 100, ...more } }))
  await post([...ends('upload_progress'), ...ends('convert_progress', { status: 'completed' })])
  await until('all', () => stream.heard.length >= 20)
  const told = wrapper => stream.heard.map(([, data]) => data[wrapper]?.mediaId).filter(Boolean)
  assert.deepEqual(told('UploadProgress'), ids)
  assert.deepEqual(told('ConvertProgress'), ids)
  await post(Array.from({ length: 100 }, (_, progress) => ({ name: 'upload_progress', data: { library, mediaId: 'm0', progress } })))
  await until('the last', () => stream.heard.at(-1)[1].UploadProgress?.progress === 99)
  assert.ok(stream.heard.length < 30, `${stream.heard.length - 20} of 100 were told`)
})

test('more libraries than a filter takes are refused with what to do', async t => {
  const { hub } = await start(t)
  const many = count => Array.from({ length: count }, (_, i) => `lib${i}`).join(',')
  const refused = await curl(url(hub, `token=reader&libraries=${many(300)}`))
  assert.equal(refused.status, 400)
  assert.match(refused.body, /\?libraries= asks for more than 256 topics; ask for fewer, or leave it out/)
  await listen(t, url(hub, `token=reader&libraries=${many(250)}`))
})

test('a page of any origin may read, without credentials, and may ask with an Authorization header', async t => {
  const { hub } = await start(t)
  const preflight = await curl(`${hub.url}/sse`, '-X', 'OPTIONS', '-H', 'Origin: https://photos.example',
    '-H', 'Access-Control-Request-Method: GET', '-H', 'Access-Control-Request-Headers: authorization,sharetoken,last-event-id')
  assert.ok([200, 204].includes(preflight.status))
  assert.match(preflight.head, /access-control-allow-origin: \*/)
  const allowed = /access-control-allow-headers: (.*)/.exec(preflight.head)[1]
  for (const name of ['authorization', 'sharetoken', 'last-event-id']) assert.ok(allowed.includes(name), `${name} in ${allowed}`)
  const stream = startCurl(t, url(hub, 'token=reader'), () => {}, { args: ['-i', '-H', 'Origin: https://photos.example'], again: false })
  await until('the head', () => stream.bytes().includes('\r\n\r\n'))
  const head = stream.bytes().split('\r\n\r\n')[0].toLowerCase()
  assert.match(head, /access-control-allow-origin: \*/)
  assert.doesNotMatch(head, /allow-credentials/)
  assert.match(head, /content-type: text\/event-stream/)
  assert.match(head, /cache-control: no-cache/)
  const refused = await curl(`${hub.url}/sse`, '-H', 'Origin: https://photos.example')
  assert.match(refused.head, /access-control-allow-origin: \*/, 'a page can read why it was refused')
})

test('who is taken out of one library and let into another is sent to come back, and hears what they may see now, also of before', async t => {
  let libraries = [lib('lib1', 'admin')]
  const changes = {
    '# Who was taken out of a library is noticed within this time.\nrecheck = "60s"': 'cache = "0s"\nrecheck = "1s"',
  }
  const { hub, post } = await start(t, { answer: () => ({ id: 'u1', role: 'user', libraries }), changes })
  const stream = await listen(t, url(hub, 'token=reader'))
  const before = stream.lastId()
  const status = library => ({ name: 'library-status', data: { library, message: 'm' } })
  await post([status('lib1'), status('lib2')])
  await until('the first', () => stream.heard.length === 1)
  libraries = [lib('lib2', 'admin')]
  await until('the stream to end', () => stream.code() !== undefined)
  assert.match(stream.bytes(), /tidings\.close\ndata: .*"reauthenticate".*"reconnect":true/)
  await post([status('lib1'), status('lib2'), { name: 'watched', data: { userRef: 'u1' } }])
  const again = await listen(t, url(hub, 'token=reader'), { lastId: before })
  await until('the last', () => again.names().includes('watched'))
  const told = again.heard.map(([, data]) => data.LibraryStatus?.library).filter(Boolean)
  assert.deepEqual(told, ['lib2', 'lib2'], 'what was published before is checked against what is held now')
})

test('who is revoked is sent away at once, with no way back, and others stay', async t => {
  const { hub, post } = await start(t)
  const [reader, keeper] = [await listen(t, url(hub, 'token=reader')), await listen(t, url(hub, 'token=keeper'))]
  const answer = await fetch(`${hub.url}/v1/revoke`, { method: 'POST', headers: { 'content-type': 'application/json', ...PUBLISHER }, body: '{"principal":"u1","profile":"redseat"}' })
  assert.equal(answer.status, 200)
  await until('the stream to end', () => reader.code() !== undefined)
  assert.match(reader.bytes(), /tidings\.close\ndata: .*"reconnect":false/)
  await post({ name: 'medias', data: { library, medias: [] } })
  await until('the other to hear', () => keeper.heard.length)
  assert.equal(reader.heard.length, 0)
})

// --- Tokens that are checked here ---------------------------------------------------------------------------------------
const part = value => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const now = () => Math.floor(Date.now() / 1000)

test('with jwt the app\'s tokens are checked here: RS256, for this server, while they last', async t => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const home = await mkdtemp(join(tmpdir(), 'tidings-jwt-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const pem = publicKey.export({ type: 'spki', format: 'pem' })
  await writeFile(join(home, 'key.pem'), pem)
  const { hub, app, post } = await start(t, { variants: ['jwt'], values: { public_key_file: join(home, 'key.pem'), server_id: 'server-1' } })

  const sign = (claims, key = privateKey) => {
    const text = `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claims)}`
    return `${text}.${createSign('RSA-SHA256').update(text).sign(key).toString('base64url')}`
  }
  const claims = more => ({ aud: 'server-1', exp: now() + 600, ...more })
  const reader = claims({ sub: 'u1', role: 'user', libraries: [lib('lib1', 'read')] })
  const chief = claims({ sub: 'u5', role: 'admin', libraries: [] })

  const streams = { reader: await listen(t, url(hub, `token=${sign(reader)}`)), chief: await listen(t, `${hub.url}/sse`, { headers: { Authorization: `Bearer ${sign(chief)}` } }) }
  for (const [name, data] of EVENTS) await post({ name, data })
  await post(LAST)
  for (const who of ['reader', 'chief']) {
    await until(`${who} to hear the last`, () => streams[who].names().includes('watched'))
    assert.deepEqual(without(streams[who].heard), due(who, 'document'))
  }
  assert.equal(app.asked.length, 0, 'the app is not asked')

  const hmac = text => createHmac('sha256', pem).update(text).digest('base64url')
  const confused = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(reader)}`
  for (const [what, token] of Object.entries({
    'for another server': sign({ ...reader, aud: 'server-2' }),
    'for no server': sign({ ...reader, aud: undefined }),
    'run out': sign({ ...reader, exp: now() - 3600 }),
    'signed by somebody else': sign(reader, stranger),
    'the public key as a secret': `${confused}.${hmac(confused)}`,
    'not signed': `${part({ alg: 'none' })}.${part(reader)}.`,
    'no token': 'reader',
  })) {
    const answer = await curl(url(hub, `token=${token}`))
    assert.equal(answer.status, 401, what)
    assert.doesNotMatch(answer.body, new RegExp(token.slice(-20)), 'the refusal does not repeat the token')
  }
  // Share tokens are not signed by that key; the app is still asked about them.
  const shared = await listen(t, url(hub, 'sharetoken=file'))
  await post({ name: 'medias', data: { library, medias: [] } })
  await until('the share token to hear', () => shared.heard.length)

  const short = await until('a stream that was opened before its token ran out', async () => {
    const stream = startCurl(t, url(hub, `token=${sign({ ...reader, exp: now() + 2 })}`), () => {}, { again: false })
    await until('the stream to end with its token', () => stream.code() !== undefined)
    return stream.bytes().includes('event: tidings.open') && stream
  })
  assert.match(short.bytes(), /event: tidings\.close\ndata: .*"expired"/)
})

// --- The clients of the document ----------------------------------------------------------------------------------------
test('the documented client: a cut is EventSource\'s to mend, a 401 is met by its own backoff, and it goes on', async t => {
  let known = true
  const { hub, post } = await start(t, { answer: request => known ? answer(request) : 401, changes: { 'heartbeat_every = "30s"': 'heartbeat_every = "30s"\nretry = "50ms"' } })
  const proxy = await startProxy(t, hub)
  const heard = [], made = []
  class Counted extends EventSource { constructor(...args) { super(...args); made.push(this) } }
  const client = new SseClient(Counted, (name, data) => heard.push(data.Medias.medias[0].n))
  client.baseDelay = 50
  t.after(() => client.disconnect())
  const medias = n => post({ name: 'medias', data: { library, medias: [{ action: 'added', n }] } })
  client.connect(`${proxy.url}/sse?token=reader`)
  await until('to open', () => client.eventSource.readyState === 1)
  await medias(1)
  await until('the first', () => heard.length === 1)
  proxy.cut()
  await medias(2)
  await until('what came during the cut', () => heard.length === 2)
  assert.equal(made.length, 1, 'the same EventSource came back')
  // Logged out: 401 closes an EventSource for good; the client's own loop opens another, which starts from now.
  known = false
  await hub.crash() // nobody is remembered
  await until('a refused client to try by itself', () => made.length >= 3)
  known = true
  await until('to open again', () => client.eventSource.readyState === 1)
  await until('the stream', async () => /"sse":1/.test((await curl(`${hub.url}/ready`)).body))
  await medias(3)
  await until('the event after it', () => heard.length === 3)
  assert.deepEqual(heard, [1, 2, 3])
  assert.equal(client.reconnectAttempts, 0)
})

test('the documented client gives up after five refusals, as it says', async t => {
  const { hub } = await start(t)
  let made = 0
  class Counted extends EventSource { constructor(...args) { super(...args); made++ } }
  const client = new SseClient(Counted, () => {})
  client.baseDelay = 2
  t.after(() => client.disconnect())
  client.connect(`${hub.url}/sse?token=wrong`)
  await until('it to give up', () => client.reconnectAttempts === 5 && client.eventSource.readyState === 2 && made === 6)
})

test('the documented connections work in Chromium: with credentials at the own origin, with a token from any other', async t => {
  const { hub, post } = await start(t)
  const elsewhere = await startProxy(t, hub) // another port is another origin
  const page = await (await startChromium(t)).newPage()
  await page.goto(`${elsewhere.url}/health`)
  await page.evaluate(([own, other]) => {
    window.heard = []
    for (const eventSource of [new EventSource(own, { withCredentials: true }), new EventSource(other)]) {
      eventSource.addEventListener('medias', event => {
        const data = JSON.parse(event.data)
        if ('Medias' in data) window.heard.push(`${new URL(eventSource.url).port} ${data.Medias.medias[0].action}`)
      })
    }
  }, ['/sse?token=reader', `${hub.url}/sse?token=reader`])
  await until('both to open', async () => /"sse":2/.test((await curl(`${hub.url}/ready`)).body))
  await post({ name: 'medias', data: { library, medias: [{ action: 'added', media: { id: 'm1' } }] } })
  await until('both to hear', async () => (await page.evaluate(() => window.heard)).length === 2)
  assert.deepEqual((await page.evaluate(() => window.heard)).sort(), [`${hub.port} Added`, `${new URL(elsewhere.url).port} Added`].sort())
})

test('the documented React hook keeps a list of media right, and opens anew for another library', async t => {
  const { hub, post } = await start(t)
  const react = memory()
  t.after(() => react.unmount())
  // The page's own address and its login are the browser's affair.
  const pages = []
  class Page extends EventSource { constructor(path) { pages.push(super(new URL(path, hub.url), { fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, Authorization: 'Bearer keeper' } }) })) } }
  let medias = [], libraries = ['lib1']
  const onEvent = (name, data) => {
    if (name !== 'medias' || !('Medias' in data)) return
    const updated = [...medias]
    data.Medias.medias.forEach(({ action, media }) => {
      const index = updated.findIndex(m => m.id === media.id)
      if (action === 'Added' && index === -1) updated.push(media)
      else if (action === 'Updated' && index !== -1) updated[index] = media
      else if (action === 'Deleted' && index !== -1) updated.splice(index, 1)
    })
    medias = updated
  }
  const render = () => react.render(() => useSse(react, Page, { libraries, onEvent }))
  const open = () => until('the hook to be connected', async () => render().isConnected && /"sse":1/.test((await curl(`${hub.url}/ready`)).body))
  render()
  await open()
  const change = (library, ...all) => post({ name: 'medias', data: { library, medias: all.map(([action, id, name]) => ({ action, media: { id, name } })) } })
  await change('lib1', ['added', 'm1', 'a'], ['added', 'm2', 'b'], ['added', 'm1', 'again'])
  await change('lib1', ['updated', 'm2', 'c'], ['updated', 'm9', 'z'], ['deleted', 'm1'])
  await until('the list', () => medias.length === 1)
  assert.deepEqual(medias, [{ id: 'm2', name: 'c' }])
  libraries = ['lib2']
  render()
  assert.equal(react.effects(), 2)
  assert.deepEqual(pages.map(({ url }) => new URL(url).searchParams.get('libraries')), ['lib1', 'lib2'])
  await until('the new stream to be open', () => pages[1].readyState === 1)
  await until('the old stream to end', async () => /"sse":1/.test((await curl(`${hub.url}/ready`)).body))
  assert.equal(pages[0].readyState, 2)
})
