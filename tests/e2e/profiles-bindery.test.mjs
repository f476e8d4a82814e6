// The book downloader's wall and its rules of who sees what, statement by statement.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { EventSource } from 'eventsource'
import { listen, startProfile, PUBLISHER } from './harness/profile.mjs'
import { curl, startCurl } from './harness/curl.mjs'
import { startProxy } from './harness/proxy.mjs'
import { until } from './harness/wait.mjs'

const KEYS = { 'the-key': { id: 1, role: 'admin' } }
const SESSIONS = { ann: { id: 2, role: 'user' }, bob: { id: 3, role: 'user' }, root: { id: 1, role: 'admin' }, nobody: { id: 0, role: 'admin' } }
const session = name => `bindery_session=v3.0a1b2c3d.2.1.1800000000.${name}`
/** The app's wall: a valid key, else a valid session, else 401; 500 when a session's epoch can't be looked up. */
const answer = ({ url, headers }) => {
  if (url !== '/api/v1/auth/me') return 404
  if (KEYS[headers['x-api-key']]) return KEYS[headers['x-api-key']]
  const name = /bindery_session=v3\.[^;]*\.(\w+)/.exec(headers.cookie ?? '')?.[1]
  return name === 'broken' ? 500 : SESSIONS[name]
}
/** The same in the mode proxy, which trusts whoever asks: behind a session that is no good, the header decides. */
const proxied = (header = 'x-forwarded-user') => request => answer(request) ?? SESSIONS[request.headers[header]]
const start = (t, options = {}) => startProfile(t, 'bindery', { answer, ...options })
const path = '/api/v1/events'

/** The status of a stream, and its body where it was refused. */
async function ask(t, url, { headers = [], args = [] } = {}) {
  const stream = startCurl(t, url, () => {}, { again: false, args: ['-i', ...args, ...headers.flatMap(h => ['-H', h])] })
  await until('the answer', () => stream.bytes().includes('\r\n\r\n') && (stream.code() !== undefined || stream.bytes().includes('tidings.open')))
  await stream.stop()
  const [head, ...body] = stream.bytes().split('\r\n\r\n')
  return { status: Number(head.split(' ')[1]), body: body.join('\r\n\r\n') }
}

test('the wall: a key in the header or the query, else a session; a wrong key falls through, and nobody is 401', async t => {
  const { hub, app } = await start(t)
  const open = 200
  for (const [expected, query, ...headers] of [
    [open, '', 'X-Api-Key: the-key'],
    [open, '?apikey=the-key'],
    [open, '', `Cookie: ${session('ann')}`],
    [open, '', `Cookie: theme=dark; ${session('ann')}; lang=de`],
    [open, '', 'X-Api-Key: wrong', `Cookie: ${session('ann')}`],
    [open, '?apikey=wrong', `Cookie: ${session('ann')}`],
    [open, '', 'X-Api-Key: the-key', `Cookie: ${session('wrong')}`],
    [open, '', 'X-Api-Key: the-key', `Cookie: ${session('broken')}`], // the key decides before the session is looked at
    [401, ''],
    [401, '', 'X-Api-Key: wrong'],
    [401, '?apikey=wrong'],
    [401, '', `Cookie: ${session('wrong')}`],
    [401, '', 'X-Api-Key: wrong', `Cookie: ${session('wrong')}`],
    [401, '', 'Authorization: Bearer the-key'],
    [401, '', 'X-Forwarded-User: ann'], // only with the variant proxy
    [403, '', `Cookie: ${session('nobody')}`],
    [503, '', `Cookie: ${session('broken')}`], // not 401: the page would log itself out
    [503, '', 'X-Api-Key: wrong', `Cookie: ${session('broken')}`],
  ]) {
    const { status, body } = await ask(t, hub.url + path + query, { headers })
    assert.equal(status, expected, JSON.stringify([query, ...headers]))
    const bodies = { 401: { error: 'unauthorized' }, 403: { error: 'forbidden' }, 503: { error: 'internal error' } }
    if (status !== open) assert.deepEqual(JSON.parse(body), bodies[status])
  }
  assert.ok(app.asked.every(({ headers }) => !headers['x-forwarded-user']), 'what only a proxy may say is not passed on')
})

test('a key in the query counts where nothing is changed; a key in the header always', async t => {
  const { hub } = await start(t)
  const ticket = (query, headers = {}) => fetch(`${hub.url}/v1/tickets${query}`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: '{"profile":"bindery"}' })
  assert.equal((await ticket('?apikey=the-key')).status, 401)
  assert.equal((await ticket('', { 'x-api-key': 'the-key' })).status, 201)
})

test('when the app is away nobody is let in and nobody is told to log in', async t => {
  const { hub } = await start(t, { values: { app_url: 'http://127.0.0.1:9' } })
  assert.equal((await ask(t, hub.url + path, { headers: [`Cookie: ${session('ann')}`] })).status, 503)
})

test('without tenancy every user hears everything, and the owner is never on the wire', async t => {
  const { hub, post } = await start(t)
  const stream = await listen(t, hub.url + path, { headers: { Cookie: session('bob') } })
  const events = [
    { name: 'book.updated', data: { id: 42, status: 'imported', filePath: '/books/a.epub', ebookFilePath: '/books/a.epub', audiobookFilePath: '' }, scope: { owner: 2 } },
    { name: 'queue.changed', data: { action: 'added', id: 7, bookId: 42, status: 'downloading' }, scope: { owner: 2 } },
    { name: 'author.refresh.progress', data: { status: 'running', total: 120, done: 34, failed: 1, started_at: '2026-06-16T10:00:00Z' } },
    { name: 'download.progress', data: { id: 7, percentage: '42.0', timeLeft: '00:01:10', speed: '3.1 MB/s' }, scope: { owner: 2 } },
  ]
  await post(events)
  await until('all four', () => stream.heard.length === 4)
  const byName = list => [...list].sort(([a], [b]) => a < b ? -1 : 1)
  assert.deepEqual(byName(stream.heard.map(([name, , text]) => [name, text])), byName(events.map(({ name, data }) => [name, JSON.stringify(data)])))
  assert.doesNotMatch(stream.bytes(), /owner/)
})

test('with tenancy a user hears of their own downloads, and of their own and nobody\'s books; admins and keys of all', async t => {
  const { hub, post } = await start(t, { variants: ['tenancy'] })
  const streams = {
    ann: await listen(t, hub.url + path, { headers: { Cookie: session('ann') } }),
    bob: await listen(t, hub.url + path, { headers: { Cookie: session('bob') } }),
    root: await listen(t, hub.url + path, { headers: { Cookie: session('root') } }),
    key: await listen(t, `${hub.url}${path}?apikey=the-key`),
  }
  const before = streams.ann.lastId()
  const events = []
  for (const [owner, scope] of [['ann', { owner: 2 }], ['bob', { owner: 3 }], ['nobody', { owner: null }], ['nobody', {}], ['nobody', undefined]]) {
    events.push({ name: 'book.updated', data: { id: events.length, of: owner }, scope })
    events.push({ name: 'queue.changed', data: { action: 'added', id: events.length, of: owner }, scope })
  }
  await post([...events, { name: 'book.updated', data: { id: 99, of: 'all' } }])
  const due = who => [...events.filter(({ name, data }) => ['root', 'key'].includes(who) || data.of === who || (name === 'book.updated' && data.of === 'nobody')).map(({ data }) => data.id), 99]
  for (const [who, stream] of Object.entries(streams)) {
    await until(`${who} to hear the last`, () => stream.heard.at(-1)?.[1].id === 99)
    assert.deepEqual(stream.heard.map(([, data]) => data.id), due(who), who)
  }
  const again = await listen(t, hub.url + path, { headers: { Cookie: session('ann') }, lastId: before })
  await until('the last again', () => again.heard.at(-1)?.[1].id === 99)
  assert.deepEqual(again.heard, streams.ann.heard)
  // Percents are signals, and obey the same rule.
  await post([{ name: 'download.progress', data: { id: 1 }, scope: { owner: 2 } }, { name: 'download.progress', data: { id: 2 }, scope: { owner: 3 } }, { name: 'download.progress', data: { id: 3 } }])
  await post({ name: 'book.updated', data: { id: 100 } })
  const signals = stream => stream.heard.filter(([name]) => name === 'download.progress').map(([, { id }]) => id).sort()
  for (const [who, ids] of [['ann', [1]], ['bob', [2]], ['root', [1, 2, 3]]]) {
    await until(`${who}'s percents`, () => streams[who].heard.some(([, { id }]) => id === 100) && signals(streams[who]).length >= ids.length)
    assert.deepEqual(signals(streams[who]), ids, who)
  }
})

test('under a base path the stream is there, and only there', async t => {
  const { hub } = await start(t, { basePath: '/books' })
  assert.equal((await ask(t, `${hub.url}/books${path}?apikey=the-key`)).status, 200)
  assert.equal((await curl(`${hub.url}${path}?apikey=the-key`)).status, 404)
})

test('with disabled nobody is asked and everybody is admin', async t => {
  const { hub, app, post } = await start(t, { variants: ['disabled', 'tenancy'] })
  const stream = await listen(t, hub.url + path, { headers: { 'X-Api-Key': 'wrong' } })
  await post({ name: 'queue.changed', data: { action: 'added', id: 7 }, scope: { owner: 2 } })
  await until('the event', () => stream.heard.length)
  assert.equal(app.asked.length, 0)
})

test('with proxy the header counts after key and session, and from the trusted proxies alone', async t => {
  const { hub, app, post } = await start(t, { answer: proxied(), variants: ['proxy', 'tenancy'], values: { trusted_proxies: ['127.0.0.2/32'] } })
  const from = (address, ...headers) => ask(t, hub.url + path, { headers, args: ['--interface', address] })
  assert.equal((await from('127.0.0.1', 'X-Forwarded-User: ann')).status, 401)
  assert.equal((await from('127.0.0.1', 'X-Forwarded-User: ann', 'X-Forwarded-For: 127.0.0.2')).status, 401)
  assert.ok(app.asked.every(({ headers }) => !headers['x-forwarded-user']), 'what anybody may have written is not passed on')
  assert.equal((await from('127.0.0.2', 'X-Forwarded-User: ann')).status, 200)
  assert.equal((await from('127.0.0.2')).status, 401)
  assert.equal((await from('127.0.0.2', 'X-Forwarded-User: ann', 'X-Forwarded-User: root')).status, 400)
  assert.equal((await from('127.0.0.1', `Cookie: ${session('ann')}`)).status, 200)
  assert.equal((await from('127.0.0.1', 'X-Api-Key: the-key')).status, 200)
  // The app can't say whether a session is good: then the header does not decide either.
  assert.equal((await from('127.0.0.2', `Cookie: ${session('broken')}`, 'X-Forwarded-User: ann')).status, 503)
  // A session that is no good leaves it to the header.
  assert.equal((await from('127.0.0.2', `Cookie: ${session('wrong')}`, 'X-Forwarded-User: ann')).status, 200)
  // Who is called as another's id is not that other; who the app does not know, or lets in as nobody, is not let in.
  assert.equal((await from('127.0.0.2', 'X-Forwarded-User: 2')).status, 401)
  assert.equal((await from('127.0.0.2', 'X-Forwarded-User: nobody')).status, 403)
  // By header as by session: one user, with their role.
  const streams = {}
  for (const name of ['ann', 'bob', 'root']) streams[name] = await listen(t, hub.url + path, { headers: { 'X-Forwarded-User': name }, args: ['--interface', '127.0.0.2'] })
  await post([{ name: 'queue.changed', data: { id: 1 }, scope: { owner: 3 } }, { name: 'queue.changed', data: { id: 2 }, scope: { owner: 2 } }, { name: 'book.updated', data: { id: 9 } }])
  for (const [name, ids] of [['ann', [2, 9]], ['bob', [1, 9]], ['root', [1, 2, 9]]]) {
    await until(`the last for ${name}`, () => streams[name].heard.at(-1)?.[1].id === 9)
    assert.deepEqual(streams[name].heard.map(([, { id }]) => id), ids, name)
  }
})

test('with proxy another header can be the one', async t => {
  const { hub } = await start(t, { answer: proxied('remote-user'), variants: ['proxy'], values: { proxy_header: 'remote-user', trusted_proxies: ['127.0.0.0/8'] } })
  assert.equal((await ask(t, hub.url + path, { headers: ['Remote-User: ann'] })).status, 200)
  assert.equal((await ask(t, hub.url + path, { headers: ['X-Forwarded-User: ann'] })).status, 401)
})

test('with proxy a header that the hub would pass on from anybody lets nobody in', async t => {
  const header = 'x-name-of-my-own'
  const { hub, app } = await start(t, { answer: proxied(header), variants: ['proxy'], values: { proxy_header: header, trusted_proxies: ['127.0.0.2/32'] } })
  for (const address of ['127.0.0.1', '127.0.0.2']) assert.equal((await ask(t, hub.url + path, { headers: [`${header}: root`], args: ['--interface', address] })).status, 401)
  assert.ok(app.asked.every(({ headers }) => !headers[header]))
})

test('the user whom the app lets in without a login is nobody, in whichever form it is told', async t => {
  for (const id of [0, '0']) {
    const { hub } = await start(t, { answer: () => ({ id, role: 'admin' }) })
    assert.equal((await ask(t, hub.url + path, { headers: [`Cookie: ${session('ann')}`] })).status, 403, JSON.stringify(id))
    assert.equal((await ask(t, `${hub.url}${path}?apikey=any`)).status, 403, JSON.stringify(id))
  }
})

// One hook per app, as the issue proposes: it subscribes once; pages invalidate or patch on the events they name.
function useLiveEvents(url, init, EventSource) {
  const source = new EventSource(url, init)
  return {
    source,
    on(name, then) {
      const heard = event => then(JSON.parse(event.data))
      source.addEventListener(name, heard)
      return () => source.removeEventListener(name, heard)
    },
  }
}

test('one subscription serves many pages, by cookie, through a cut and a restart, and a page that left hears nothing', async t => {
  const { hub, post } = await start(t)
  const proxy = await startProxy(t, hub)
  const fetchAs = (url, init) => fetch(url, { ...init, headers: { ...init.headers, cookie: session('ann') } })
  const live = useLiveEvents(`${proxy.url}${path}`, { fetch: fetchAs }, EventSource)
  t.after(() => live.source.close())
  const book = [], queue = [], left = []
  live.on('book.updated', data => book.push(data.id))
  live.on('queue.changed', data => queue.push(data.id))
  const leave = live.on('book.updated', data => left.push(data.id))
  await until('to open', () => live.source.readyState === 1)
  await post([{ name: 'book.updated', data: { id: 1 } }, { name: 'queue.changed', data: { id: 2 } }])
  await until('both', () => book.length && queue.length)
  leave()
  proxy.cut()
  await post({ name: 'book.updated', data: { id: 3 } })
  await until('what came during the cut', () => book.length === 2)
  await hub.crash()
  await post({ name: 'queue.changed', data: { id: 4 } })
  await until('what came after the crash', () => queue.length === 2)
  assert.deepEqual({ book, queue, left }, { book: [1, 3], queue: [2, 4], left: [1] })
})

test('a logout at the app ends the stream within the recheck, and says not to come back without a login', async t => {
  let known = true
  const changes = { 'headers = ["cookie"]\n# A password change ends the session in the app; here within this time.\nrecheck = "60s"': 'headers = ["cookie"]\ncache = "0s"\nrecheck = "1s"' }
  const { hub } = await start(t, { answer: request => known ? answer(request) : 401, changes })
  const stream = await listen(t, hub.url + path, { headers: { Cookie: session('ann') } })
  known = false
  await until('the stream to end', () => stream.code() !== undefined)
  assert.match(stream.bytes(), /event: tidings\.close\ndata: .*"reconnect":false/)
  assert.equal((await ask(t, hub.url + path, { headers: [`Cookie: ${session('ann')}`] })).status, 401)
})

test('while the app is away an open stream goes on, and ends only when the app says no', async t => {
  let up = true
  const changes = { 'headers = ["cookie"]\n# A password change ends the session in the app; here within this time.\nrecheck = "60s"': 'headers = ["cookie"]\ncache = "0s"\nrecheck = "1s"' }
  const { hub, app, post } = await start(t, { answer: request => up ? answer(request) : 500, changes })
  const stream = await listen(t, hub.url + path, { headers: { Cookie: session('ann') } })
  up = false
  const asked = app.asked.length
  await until('the app to be asked in vain', () => app.asked.length >= asked + 2)
  await post({ name: 'book.updated', data: { id: 1 } })
  await until('the event', () => stream.heard.length)
  assert.equal(stream.code(), undefined)
})

test('no user publishes: the key of the app is of the hub, not of the app\'s wall', async t => {
  const { hub } = await start(t)
  const publish = headers => fetch(`${hub.url}/v1/publish?profile=bindery`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: '{"name":"book.updated","data":{"id":1}}' })
  assert.equal((await publish({ 'x-api-key': 'the-key' })).status, 401)
  assert.equal((await publish({ cookie: session('root') })).status, 401)
  assert.equal((await publish(PUBLISHER)).status, 200)
})

test('no key and no session reaches the log, at its most talkative, or the metrics', async t => {
  const { hub } = await start(t, { env: { TIDINGS_LOG__LEVEL: 'trace' } })
  await listen(t, `${hub.url}${path}?apikey=the-key`)
  await listen(t, hub.url + path, { headers: { Cookie: session('ann') } })
  for (const headers of [['X-Api-Key: a-wrong-key'], [`Cookie: ${session('broken')}`], [`Cookie: ${session('wrong')}`]]) await ask(t, hub.url + path, { headers })
  await ask(t, `${hub.url}${path}?apikey=a-wrong-key`)
  const metrics = (await curl(`${hub.url}/metrics`)).body
  await until('the log of the app that could not say', () => hub.output.includes("can't say who asks"))
  // All that it has said until now is read.
  hub.process.kill('SIGKILL')
  await once(hub.process, 'close')
  for (const secret of ['the-key', 'a-wrong-key', '0a1b2c3d']) assert.ok(!(hub.output + metrics).includes(secret), secret)
})
