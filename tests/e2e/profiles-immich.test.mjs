// The photo app's contract, with the options of its own end-to-end tests, and byte for byte beside the server that it uses.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { once } from 'node:events'
import { io } from 'socket.io-client'
import { Server } from 'socket.io'
import { startHub } from './harness/hub.mjs'
import { PUBLISHER, startApp, startProfile } from './harness/profile.mjs'
import { startChromium } from './harness/chromium.mjs'
import { startProxy } from './harness/proxy.mjs'
import { openSocket } from './harness/websocket.mjs'
import { until } from './harness/wait.mjs'

const PEOPLE = {
  'Bearer ann-phone': { id: 'u1', sessionId: 's1' },
  'Bearer ann-page': { id: 'u1', sessionId: 's2' },
  'Bearer bob': { id: 'u2', sessionId: 's3' },
}
const KEYS = { 'ann-key': { id: 'u1' } }
const answer = ({ url, headers }) => {
  if (url !== '/api/users/me') return 404
  if (headers['x-immich-share-key'] ?? headers['x-immich-share-slug']) return 401 // lets nobody in here
  return PEOPLE[headers.authorization] ?? KEYS[headers['x-api-key']]
}
const start = (t, options) => startProfile(t, 'immich', { answer, ...options })

/** The options of the app's own tests (e2e/src/utils.ts). */
const options = (token, more) => ({
  path: '/api/socket.io',
  transports: ['websocket'],
  extraHeaders: { Authorization: `Bearer ${token}` },
  autoConnect: true,
  forceNew: true,
  ...more,
})
/** Connects as the app does. `heard` is what came, `[name, …arguments]`. */
async function connect(t, hub, token, more) {
  const socket = io(hub.url, options(token, more))
  t.after(() => socket.close())
  const client = { socket, heard: [], reasons: [], connects: 0 }
  socket.onAny((...event) => client.heard.push(event))
  socket.on('disconnect', reason => client.reasons.push(reason))
  socket.on('connect', () => { client.connects++ })
  await until(`${token} to connect`, () => client.connects)
  return client
}
const names = ({ heard }) => heard.map(([name]) => name)

const user = { scope: { user: 'u1' } }, session = { scope: { session: 's1' } }, everybody = {}
const asset = '{"id":"a1","ownerId":"u1","libraryId":null,"type":"IMAGE","originalFileName":"Zoë 🌅.jpg","thumbhash":"1QcSHQRn\\u0000","fileCreatedAt":"2026-01-01T00:00:00.000Z","isFavorite":false,"visibility":"timeline","duration":"0:00:00.00000","exifInfo":{"fNumber":1.80,"exposureTime":"1/50","latitude":-0.0,"fileSizeInByte":12345678901234567890},"people":[],"checksum":"5FXHtq4Yd3c="}'
const exif = '{"assetId":"a1","description":"","exifImageWidth":4000,"rating":null}'
const version = (patch) => `{"major":2,"minor":4,"patch":${patch},"prerelease":null}`
const release = '{"isAvailable":true,"checkedAt":"2026-01-01T00:00:00.000Z","serverVersion":{"major":1,"minor":2,"patch":3},"releaseVersion":{"major":1,"minor":3,"patch":0}}'
// Each event of the contract: what is posted, to whom, and how many arguments it has.
const EVENTS = [
  ['on_upload_success', asset, user, 1],
  ['on_asset_delete', '"3fa85f64-5717-4562-b3fc-2c963f66afa6"', user, 1],
  ['on_asset_trash', '["id1","id2"]', user, 1],
  ['on_asset_trash', '["id1"]', user, 1],
  ['on_asset_trash', '[]', user, 1],
  ['on_asset_restore', '["id1","id2"]', user, 1],
  ['on_asset_update', asset, user, 1],
  // As the document has the two: with nothing.
  ['on_asset_restore', undefined, user, 0],
  ['on_asset_update', undefined, user, 0],
  ['on_asset_stack_update', undefined, user, 0],
  ['on_asset_hidden', '"3fa85f64-5717-4562-b3fc-2c963f66afa6"', user, 1],
  ['on_config_update', undefined, everybody, 0],
  ['on_new_release', release, everybody, 1],
  ['AssetUploadReadyV1', `{"asset":${asset},"exif":${exif}}`, user, 1],
  ['AssetUploadReadyV1', `{"asset":${asset}}`, user, 1],
  ['AssetEditReadyV1', `{"asset":${asset},"edit":[{"action":"crop","parameters":{"x":0}}]}`, user, 1],
  ['AssetEditReadyV1', '{"assetId":"a1"}', user, 1],
  ['on_server_version', version(1), everybody, 1],
  ['on_user_delete', '"u9"', everybody, 1],
  ['on_album_update', '"album1"', user, 1],
  ['on_person_thumbnail', '"person1"', user, 1],
  ['on_notification', '{"id":"n1","level":"info","type":"Custom","title":"T","description":"D","data":null,"readAt":null}', user, 1],
  ['on_session_delete', '"s1"', session, 1],
  ['AppRestartV1', '{"isMaintenanceMode":true}', everybody, 1],
  ['AssetUploadReadyV2', `{"asset":${asset},"exif":${exif}}`, user, 1],
  ['AssetEditReadyV2', `{"asset":${asset},"edit":[]}`, user, 1],
]
/** Posts an event with the very bytes of its data. */
async function postText(hub, name, data, scope) {
  const body = `{"name":${JSON.stringify(name)}${data === undefined ? '' : `,"data":${data}`}${scope.scope ? `,"scope":${JSON.stringify(scope.scope)}` : ''}}`
  const headers = { 'content-type': 'application/json', ...PUBLISHER }
  const response = await fetch(`${hub.url}/v1/publish?profile=immich`, { method: 'POST', headers, body })
  assert.equal(response.status, 200, await response.text())
}
const sees = (who, to) => to === everybody || (to === user ? who.id === 'u1' : who.sessionId === 's1')

test('the options of the app\'s own tests hear every event of the contract, each with exactly its arguments, and only who it is for', async t => {
  const { hub } = await start(t)
  const everyone = { 'ann-phone': PEOPLE['Bearer ann-phone'], 'ann-page': PEOPLE['Bearer ann-page'], bob: PEOPLE['Bearer bob'] }
  const clients = {}
  for (const token of Object.keys(everyone)) clients[token] = await connect(t, hub, token)
  clients['ann-key'] = await connect(t, hub, '', { extraHeaders: { 'x-api-key': 'ann-key' } })
  everyone['ann-key'] = { id: 'u1' }
  for (const [name, data, to] of EVENTS) await postText(hub, name, data, to)
  await postText(hub, 'on_user_delete', '"the last"', everybody)
  for (const [token, who] of Object.entries(everyone)) {
    await until(`${token} to hear the last`, () => clients[token].heard.at(-1)?.[1] === 'the last')
    const due = EVENTS.filter(([, , to]) => sees(who, to)).map(([name, data, , count]) => count ? [name, JSON.parse(data)] : [name])
    assert.deepEqual(clients[token].heard.slice(0, -1), due, token)
    assert.deepEqual(clients[token].reasons, [])
  }
})

test('every event goes over the wire with the very bytes that were posted', async t => {
  const { hub } = await start(t)
  const socket = openSocket(t, `${hub.url}/api/socket.io/?EIO=4&transport=websocket`, { headers: { authorization: 'Bearer ann-phone' } })
  await socket.gets(1)
  socket.send('40')
  await socket.gets(2)
  for (const [name, data, to] of EVENTS) await postText(hub, name, data, to)
  const frames = EVENTS.map(([name, data, , count]) => `42["${name}"${count ? `,${data}` : ''}]`)
  assert.deepEqual((await socket.gets(2 + EVENTS.length)).slice(2), frames)
})

test('something posted with an event that has no arguments gives it none', async t => {
  const { hub } = await start(t)
  const client = await connect(t, hub, 'ann-phone')
  await postText(hub, 'on_config_update', '{"a":1}', everybody)
  await postText(hub, 'on_asset_stack_update', '["id1"]', user)
  await until('both', () => client.heard.length === 2)
  assert.deepEqual(client.heard, [['on_config_update'], ['on_asset_stack_update']])
})

test('who connects is told the version and the release, the newest of each, also after a restart of the hub; the others are not told again', async t => {
  const { hub } = await start(t)
  for (const patch of [1, 2]) await postText(hub, 'on_server_version', version(patch), everybody)
  await postText(hub, 'on_new_release', release, everybody)
  const told = [['on_server_version', JSON.parse(version(2))], ['on_new_release', JSON.parse(release)]]
  const sorted = heard => heard.toSorted(([a], [b]) => a < b ? 1 : -1)
  const phone = await connect(t, hub, 'ann-phone', { reconnectionDelay: 20, reconnectionDelayMax: 100 })
  await until('both', () => phone.heard.length === 2)
  assert.deepEqual(sorted(phone.heard), told)
  const page = await connect(t, hub, 'ann-page')
  await until('both', () => page.heard.length === 2)
  assert.deepEqual(sorted(page.heard), told)
  await postText(hub, 'on_config_update', undefined, everybody)
  await until('the event', () => phone.heard.length === 3)
  assert.deepEqual(phone.heard.at(-1), ['on_config_update'])
  await hub.crash()
  await until('to be told again', () => phone.heard.length === 5)
  assert.deepEqual(sorted(phone.heard.slice(3)), told)
})

const UNKNOWN = '{"code":0,"message":"Transport unknown"}', BAD = '{"code":3,"message":"Bad request"}'

test('what is no WebSocket is refused in the protocol\'s own words, byte for byte', async t => {
  const { hub } = await start(t)
  for (const path of ['/api/socket.io', '/api/socket.io/', '/socket.io', '/socket.io/']) {
    for (const [query, status, body, init] of [
      ['?EIO=4&transport=polling', 400, UNKNOWN],
      ['?EIO=4&transport=polling', 400, UNKNOWN, { method: 'POST', body: '40' }],
      ['?EIO=4&transport=polling&sid=abc', 400, UNKNOWN],
      ['?EIO=3&transport=polling', 400, UNKNOWN],
      ['?EIO=4', 400, UNKNOWN],
      ['', 400, UNKNOWN],
      ['?EIO=4&transport=constructor', 400, UNKNOWN],
      ['?EIO=4&transport=websocket', 400, BAD],
      ['?transport=websocket', 400, BAD],
      ['?EIO=5&transport=websocket', 400, BAD],
      ['?EIO=3&transport=websocket', 400, '{"code":5,"message":"Unsupported protocol version"}'],
      ['?EIO=4&transport=websocket&sid=abc', 400, BAD],
    ]) {
      const response = await fetch(hub.url + path + query, { ...init, headers: { authorization: 'Bearer ann-phone' } })
      assert.deepEqual([response.status, response.headers.get('content-type'), await response.text()], [status, 'application/json', body], path + query)
    }
    // As a handshake, of which a stock client never hears more than that it failed.
    for (const [query, body] of [['?EIO=5&transport=websocket', BAD], ['?EIO=4&transport=polling', UNKNOWN]]) {
      const socket = openSocket(t, hub.url + path + query)
      assert.deepEqual(await socket.ends(), { status: 400, type: 'application/json', body }, path + query)
    }
  }
})

test('a client with the stock options, which polls first, is refused and says so', async t => {
  const { hub } = await start(t)
  const socket = io(hub.url, options('ann-phone', { transports: ['polling', 'websocket'], reconnection: false }))
  t.after(() => socket.close())
  const [error] = await new Promise(done => socket.once('connect_error', (...all) => done(all)))
  assert.deepEqual([error.message, error.description], ['xhr poll error', 400])
})

test('who the app does not know is told unauthorized and disconnected, and a stock client stays away', async t => {
  const { hub, app } = await start(t)
  for (const extraHeaders of [{ Authorization: 'Bearer wrong' }, {}, { cookie: 'immich_access_token=wrong' }, { 'x-api-key': 'wrong' }]) {
    const socket = io(hub.url, options('', { extraHeaders, reconnectionDelay: 1, reconnectionDelayMax: 1 }))
    t.after(() => socket.close())
    const seen = []
    let attempts = 0
    socket.io.on('reconnect_attempt', () => { attempts++ })
    socket.on('connect', () => seen.push('connect'))
    socket.on('connect_error', () => seen.push('connect_error'))
    socket.onAny((...event) => seen.push(event))
    socket.on('disconnect', reason => seen.push(reason))
    await until('to be disconnected', () => seen.length === 3)
    assert.deepEqual(seen, ['connect', ['error', 'unauthorized'], 'io server disconnect'])
    assert.equal(socket.active, false)
    await until('the client to close its transport', () => socket.io.engine.readyState === 'closed')
    // Nor is it told anything, should it be.
    await postText(hub, 'on_config_update', undefined, everybody)
    const other = await connect(t, hub, 'bob')
    await postText(hub, 'on_config_update', undefined, everybody)
    await until('somebody else to hear', () => other.heard.length)
    assert.deepEqual([attempts, seen.length], [0, 3])
  }
  assert.ok(app.asked.length <= 4 + 4, 'nobody asked again')
})

test('the first credential that is there decides, in the order of the app', async t => {
  const { hub, app } = await start(t)
  const ask = async (query, headers, path = '/api/socket.io/') => {
    const socket = openSocket(t, `${hub.url}${path}?EIO=4&transport=websocket${query}`, { headers })
    await socket.gets(1)
    socket.send('40')
    await socket.gets(2)
    await postText(hub, 'on_album_update', '"of u1"', user)
    await postText(hub, 'on_album_update', '"of u2"', { scope: { user: 'u2' } })
    const [said] = (await socket.gets(3)).slice(2)
    socket.ws.terminate()
    return { '42["error","unauthorized"]': undefined, '42["on_album_update","of u1"]': 'u1', '42["on_album_update","of u2"]': 'u2' }[said]
  }
  const order = [
    // Each by itself, and then with one beside it that comes later and is somebody else's.
    ['u1', '', { 'x-immich-user-token': 'ann-phone' }],
    ['u1', '', { 'x-immich-session-token': 'ann-phone' }],
    ['u1', '&sessionKey=ann-phone', {}],
    ['u1', '', { authorization: 'Bearer ann-phone' }],
    ['u1', '', { cookie: 'other=1; immich_access_token=ann-phone' }],
    ['u1', '', { 'x-api-key': 'ann-key' }],
    ['u1', '&apiKey=ann-key', {}],
    ['u1', '', { 'x-immich-user-token': 'ann-phone', 'x-immich-session-token': 'bob' }],
    ['u2', '', { 'x-immich-user-token': 'bob', 'x-immich-session-token': 'ann-phone' }],
    ['u1', '&sessionKey=bob', { 'x-immich-session-token': 'ann-phone' }],
    ['u1', '&sessionKey=ann-phone', { authorization: 'Bearer bob' }],
    ['u1', '', { authorization: 'Bearer ann-phone', cookie: 'immich_access_token=bob' }],
    ['u2', '', { cookie: 'immich_access_token=bob', 'x-api-key': 'ann-key' }],
    ['u1', '&apiKey=wrong', { 'x-api-key': 'ann-key' }],
    // A wrong one is not passed over for a good one that comes later.
    [undefined, '', { authorization: 'Bearer wrong', cookie: 'immich_access_token=ann-phone' }],
    [undefined, '', { 'x-immich-share-key': 'any', authorization: 'Bearer ann-phone' }],
    [undefined, '&key=any', { authorization: 'Bearer ann-phone' }],
    [undefined, '&slug=any', { authorization: 'Bearer ann-phone' }],
    // The phone of somebody whose server's address has a user and a password in it.
    ['u1', '', { authorization: 'Basic YTpi', 'x-immich-user-token': 'ann-phone' }],
    ['u1', '', { authorization: 'Basic YTpi', cookie: 'immich_access_token=ann-phone' }],
    [undefined, '', { authorization: 'Basic YTpi' }],
    [undefined, '', {}],
  ]
  for (const [who, query, headers] of order) assert.equal(await ask(query, headers), who, JSON.stringify([query, headers]))
  assert.ok(app.asked.every(({ headers }) => headers.cookie === undefined), 'the app is asked with the one credential alone')
})

test('all four spellings of the path are one socket', async t => {
  const { hub } = await start(t)
  const clients = []
  for (const path of ['/api/socket.io', '/socket.io']) for (const addTrailingSlash of [true, false]) {
    clients.push(await connect(t, hub, 'ann-phone', { path, addTrailingSlash }))
  }
  await postText(hub, 'on_asset_trash', '["id1"]', user)
  for (const client of clients) {
    await until('each to hear', () => client.heard.length)
    assert.deepEqual(client.heard, [['on_asset_trash', ['id1']]])
  }
})

test('a session that is deleted is told so and then disconnected, and not let in again; the user\'s other sessions stay', async t => {
  const { hub } = await start(t)
  const [phone, page] = [await connect(t, hub, 'ann-phone', { reconnectionDelay: 1, reconnectionDelayMax: 1 }), await connect(t, hub, 'ann-page')]
  await postText(hub, 'on_session_delete', '"s1"', session)
  const revoked = await fetch(`${hub.url}/v1/revoke`, {
    method: 'POST', headers: { 'content-type': 'application/json', ...PUBLISHER }, body: JSON.stringify({ session: 's1', profile: 'immich' }),
  })
  assert.equal(revoked.status, 200, await revoked.text())
  await until('the phone to be gone', () => phone.reasons.length)
  assert.deepEqual([phone.heard, phone.reasons, phone.socket.active], [[['on_session_delete', 's1']], ['io server disconnect'], false])
  await postText(hub, 'on_asset_delete', '"a1"', user)
  await until('the page to hear', () => page.heard.length)
  assert.deepEqual(page.heard, [['on_asset_delete', 'a1']])
  phone.socket.connect()
  await until('the phone to be refused', () => phone.heard.length === 2)
  assert.deepEqual(phone.heard[1], ['error', 'unauthorized'])
})

test('a page of the app brings its cookie, and a page of another origin does not', async t => {
  const { hub } = await start(t)
  const elsewhere = await startProxy(t, hub) // another port is another origin
  const browser = await startChromium(t)
  const heard = {}
  for (const [where, origin] of [['own', hub.url], ['other', elsewhere.url]]) {
    const context = await browser.newContext()
    // A cookie is its host's, whatever the port: the browser sends it from both pages.
    await context.addCookies([{ name: 'immich_access_token', value: 'ann-page', url: hub.url, sameSite: 'Lax' }])
    const page = await context.newPage()
    await page.goto(`${origin}/health`)
    await page.addScriptTag({ path: new URL('./node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url).pathname })
    await page.evaluate(url => {
      window.heard = []
      // The app's page.
      const socket = window.io(url, { path: '/api/socket.io', transports: ['websocket'], forceNew: true })
      socket.on('connect', () => window.heard.push('connect'))
      socket.onAny((...event) => window.heard.push(event))
    }, hub.url)
    await until('the page to connect', () => page.evaluate(() => window.heard.length))
    await postText(hub, 'on_asset_trash', '["id1"]', user)
    await until(`the ${where} page to hear`, async () => (heard[where] = await page.evaluate(() => window.heard)).length === 2)
    await context.close()
  }
  assert.deepEqual(heard, { own: ['connect', ['on_asset_trash', ['id1']]], other: ['connect', ['error', 'unauthorized']] })
})

test('two profiles in one hub do not hear of each other, and a credential of one is nothing at the other', async t => {
  const [photos, media] = [await startApp(t, answer), await startApp(t, ({ headers }) => headers.authorization === 'Bearer reader' ? { id: 'u1', role: 'admin', libraries: [] } : 401)]
  const hub = await startHub(t, {
    config: `
      [[auth.sources]]
      kind = "api-key"
      keys = [{ name = "app", value = "${PUBLISHER['x-api-key']}", publish = true, operator = true }]
      [[profiles]]
      name = "immich"
      values = { app_url = "${photos.url}" }
      [[profiles]]
      name = "redseat"
      base_path = "/media"
      values = { app_url = "${media.url}" }
    `,
  })
  const post = (profile, event) => hub.publish(event, { profile, headers: PUBLISHER })
  const photo = await connect(t, hub, 'ann-phone')
  const film = await connect(t, hub, 'nobody', { path: '/media/socket.io', auth: { token: 'reader' }, extraHeaders: {} })
  const strange = await connect(t, hub, 'reader')
  await until('somebody of the other app to be sent away', () => strange.reasons.length)
  await post('immich', { name: 'on_user_delete', data: 'u9' })
  await post('redseat', { name: 'medias', data: { library: 'lib1', medias: [] } })
  await assert.rejects(post('redseat', { name: 'on_user_delete', data: 'u9' }), /422/)
  await until('both to hear', () => photo.heard.length && film.heard.length === 2)
  assert.deepEqual(photo.heard, [['on_user_delete', 'u9']])
  assert.deepEqual(film.heard.slice(1), [['medias', { library: 'lib1', medias: [] }]])
  // What an app does to its own user does not touch the other's u1.
  const revoke = profile => fetch(`${hub.url}/v1/revoke`, { method: 'POST', headers: { 'content-type': 'application/json', ...PUBLISHER }, body: JSON.stringify({ principal: 'u1', profile }) })
  assert.equal((await revoke('redseat')).status, 200)
  await until('the one to be gone', () => film.reasons.length)
  await post('immich', { name: 'on_user_delete', data: 'u8' })
  await until('the other to hear on', () => photo.heard.length === 2)
  assert.deepEqual(photo.reasons, [])
})

test('while the app can\'t say who asks nobody is sent away: they come back by themselves', async t => {
  let up = false
  const { hub, app } = await start(t, { answer: request => up ? answer(request) : 503 })
  const socket = io(hub.url, options('ann-phone', { reconnectionDelay: 20, reconnectionDelayMax: 50 }))
  t.after(() => socket.close())
  const heard = []
  socket.onAny((...event) => heard.push(event))
  await until('the app to be asked again', () => app.asked.length > 2)
  assert.equal(socket.connected, false)
  up = true
  await until('to connect', () => socket.connected)
  assert.deepEqual(heard, [])
})

test('with resume the same options miss nothing through a cut and a crash', async t => {
  const { hub } = await start(t, { variants: ['resume'] })
  const proxy = await startProxy(t, hub)
  const client = await connect(t, { url: proxy.url }, 'ann-phone', { reconnectionDelay: 20, reconnectionDelayMax: 100 })
  const trash = id => postText(hub, 'on_asset_trash', `["${id}"]`, user)
  const trashed = () => client.heard.filter(([name]) => name === 'on_asset_trash')
  await trash(1)
  await until('the first', () => trashed().length === 1)
  proxy.cut()
  await trash(2)
  await until('the second', () => trashed().length === 2)
  await hub.crash()
  await trash(3)
  await postText(hub, 'on_asset_stack_update', undefined, user)
  await until('the last', () => names(client).includes('on_asset_stack_update'))
  assert.deepEqual(trashed().map(([, ids, cursor]) => [ids, typeof cursor]), [[['1'], 'string'], [['2'], 'string'], [['3'], 'string']])
  assert.equal(client.heard.at(-1).length, 2, 'no argument but the place')
  assert.equal(client.socket.recovered, true)
})

test('the other two ways to refuse: connect_error, and 401 before there is a socket', async t => {
  for (const [variant, wanted] of [['connect-error', undefined], ['http-401', 401]]) {
    const { hub } = await start(t, { variants: [variant] })
    const socket = io(hub.url, options('wrong', { reconnection: false }))
    t.after(() => socket.close())
    const seen = []
    for (const name of ['connect', 'disconnect']) socket.on(name, () => seen.push(name))
    socket.onAny((...event) => seen.push(event))
    const error = await new Promise(done => socket.once('connect_error', done))
    assert.deepEqual(seen, [])
    const raw = openSocket(t, `${hub.url}/api/socket.io/?EIO=4&transport=websocket`)
    if (wanted) {
      assert.equal(error.message, 'websocket error')
      assert.deepEqual(await raw.ends(), { status: 401, type: 'application/json', body: '{"message":"Authentication required","error":"Unauthorized","statusCode":401}' })
    } else {
      assert.ok(error.message.length > 0 && error.message !== 'websocket error', error.message)
      await raw.gets(1)
      raw.send('40')
      assert.match((await raw.gets(2))[1], /^44\{"message":"[^"]+"\}$/)
    }
    await connect(t, hub, 'ann-phone')
  }
})

test('with polling stock options poll, upgrade, and hear the same', async t => {
  const { hub } = await start(t, { variants: ['polling'] })
  const clients = [['polling'], ['polling', 'websocket']].map(transports => connect(t, hub, 'ann-phone', { transports }))
  const [polls, upgrades] = await Promise.all(clients)
  await until('the upgrade', () => upgrades.socket.io.engine.transport.name === 'websocket')
  for (const [name, data, to] of EVENTS) await postText(hub, name, data, to)
  const due = EVENTS.map(([name, data, , count]) => count ? [name, JSON.parse(data)] : [name])
  for (const { heard } of [polls, upgrades]) {
    await until('all', () => heard.length === due.length)
    assert.deepEqual(heard, due)
  }
})

/** The app's own server as far as its socket goes: its options, its answer to who connects. */
async function startOracle(t) {
  const server = http.createServer()
  const oracle = new Server(server, { path: '/api/socket.io', transports: ['websocket'], cors: { origin: true } })
  oracle.on('connection', socket => {
    const who = PEOPLE[socket.handshake.headers.authorization]
    if (!who) {
      socket.emit('error', 'unauthorized')
      socket.disconnect()
      return
    }
    socket.join(who.id)
    oracle.to(who.id).emit('on_server_version', { major: 2, minor: 4, patch: 1, prerelease: null })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => oracle.close())
  return { oracle, url: `http://127.0.0.1:${server.address().port}` }
}

test('frame by frame it is what npm socket.io sends with the app\'s options', async t => {
  const { hub } = await start(t)
  await postText(hub, 'on_server_version', version(1), everybody)
  const { oracle, url } = await startOracle(t)
  const emit = (name, ...args) => oracle.to('u1').emit(name, ...args)
  // Each: what the client sends, one at a time after a message has come; what is posted then; how many messages come in all.
  const conversations = {
    'who is known, and two events': [{ authorization: 'Bearer ann-phone' }, ['40'], true, 5],
    'with a payload that nobody asks for': [{ authorization: 'Bearer ann-phone' }, ['40{"token":"x"}'], true, 5],
    'who is not known': [{ authorization: 'Bearer wrong' }, ['40'], false, 4],
    'a namespace that there is not': [{ authorization: 'Bearer ann-phone' }, ['40/x,'], false, 2],
    'a namespace that there is not, with a payload': [{ authorization: 'Bearer ann-phone' }, ['40/x,{"a":1}'], false, 2],
    'a namespace that there is not, then the one that there is': [{ authorization: 'Bearer ann-phone' }, ['40/x,', '40'], false, 4],
    'an event and an acknowledgement that nobody waits for': [{ authorization: 'Bearer ann-phone' }, ['40', '421["hello",{}]', '439[]'], true, 5],
  }
  for (const [what, [headers, says, events, count]] of Object.entries(conversations)) {
    const [ours, theirs] = [hub.url, url].map(base => openSocket(t, `${base}/api/socket.io/?EIO=4&transport=websocket`, { headers }))
    for (const socket of [ours, theirs]) {
      await socket.gets(1)
      let seen = 1
      for (const text of says) {
        socket.send(text)
        // Only what is answered is waited for.
        if (/^4[01]/.test(text) && !text.startsWith('41')) await socket.gets(++seen)
      }
    }
    if (events) {
      for (const socket of [ours, theirs]) await socket.gets(3)
      await postText(hub, 'on_asset_stack_update', undefined, user)
      await postText(hub, 'on_asset_trash', '["id1","id2"]', user)
      emit('on_asset_stack_update')
      emit('on_asset_trash', ['id1', 'id2'])
    }
    const told = []
    for (const socket of [ours, theirs]) {
      await socket.gets(count)
      // The ids are random, and alike in form.
      told.push(socket.messages.map(text => text.replace(/"sid":"[\w-]{20}"/, '"sid":"…"')))
      assert.equal(socket.closed, undefined, what)
      socket.ws.close()
    }
    assert.deepEqual(told[0], told[1], what)
  }
})

test('the id of the socket, which apps may tell others, does not say that of the connection', async t => {
  const { hub } = await start(t)
  const { url } = await startOracle(t)
  for (const base of [url, hub.url]) {
    const socket = openSocket(t, `${base}/api/socket.io/?EIO=4&transport=websocket`, { headers: { authorization: 'Bearer ann-phone' } })
    await socket.gets(1)
    socket.send('40')
    const [connection, inside] = (await socket.gets(2)).slice(0, 2).map(text => /"sid":"([\w-]{20})"/.exec(text)[1])
    assert.notEqual(connection, inside, base)
  }
})

test('who leaves the namespace and wants in again is sent to connect anew, which stock clients do by themselves', async t => {
  const { hub } = await start(t)
  const socket = openSocket(t, `${hub.url}/api/socket.io/?EIO=4&transport=websocket`, { headers: { authorization: 'Bearer ann-phone' } })
  await socket.gets(1)
  socket.send('40')
  await until('to be let in', () => socket.messages[1])
  socket.send('41')
  socket.send('40')
  assert.equal((await socket.ends()).code, 1000)
})
