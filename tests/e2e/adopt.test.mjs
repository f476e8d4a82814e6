// The pages on adopting the hub, followed word by word: settings, keys, what is posted, what listens, what a proxy is told.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventSource } from 'eventsource'
import { io } from 'socket.io-client'
import { root, run, startHub } from './harness/hub.mjs'
import { startNginx } from './harness/nginx.mjs'
import { follow, listen, listenBySocketIo, startApp, startProfile } from './harness/profile.mjs'
import { BEFORE_A_HEARTBEAT, until } from './harness/wait.mjs'

const NAMES = ['bindery', 'immich', 'redseat', 'silo']
const blocks = async (page, kind) => [...(await readFile(join(root, 'docs', page), 'utf8')).matchAll(new RegExp(`\`\`\`${kind}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(([, text]) => text)
const adopt = (name, kind) => blocks(`adopt/${name}.md`, kind)
/** Each line of the page that can be posted. */
const events = async name => (await adopt(name, 'json')).join('').split('\n').filter(line => line.startsWith('{"name"')).map(line => JSON.parse(line))
/** Opens an event stream. */
const stream = (path, headers) => (t, url) => listen(t, url + path, { headers })
/** Who may see everything at each app, and how they listen: `listens(t, url)`. */
const CHIEF = {
  bindery: { person: { id: 1, role: 'admin' }, listens: stream('/api/v1/events?apikey=k') },
  immich: { person: { id: 'u1', sessionId: 's1' }, listens: async (t, url) => follow(t, await asTheImmichPageShows(url, 'k')) },
  redseat: { person: { id: 'u1', role: 'admin', libraries: [] }, listens: stream('/sse?token=k') },
  silo: { person: { username: 'ann', role: 'admin' }, listens: stream('/api/events', { Authorization: 'Bearer silo_k' }) },
}

/** A socket with the options of the page, at another address. */
async function asTheImmichPageShows(url, token) {
  const [code] = await adopt('immich', 'js')
  const at = (address, options) => io(address.replace('http://127.0.0.1:8090', url), { forceNew: true, ...options })
  return new Function('io', 'token', 'console', `${code}\nreturn socket`)(at, token, { log() {} })
}

/** nginx with the lines of the page in front of the hub. */
async function nginxOfThePage(t, name, hub) {
  const [lines] = await adopt(name, 'nginx')
  return startNginx(t, hub, port => `server { listen 127.0.0.1:${port};\n${lines.replaceAll('127.0.0.1:8090', `127.0.0.1:${hub.port}`)}\n}`)
}

async function folder(t) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-adopt-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  return home
}

for (const name of NAMES) {
  test(`${name}: the settings of the page have no mistake, with each line that is commented out as well`, async t => {
    const file = join(await folder(t), 'server.toml')
    const [settings] = await adopt(name, 'toml')
    const lines = settings.split('\n')
    const offers = lines.filter(line => /^# \w+ = /.test(line))
    for (const offer of [undefined, ...offers]) {
      await writeFile(file, lines.map(line => line === offer ? line.slice(2) : line).join('\n'))
      const { code, out } = await run('check-config', file)
      assert.equal(code, 0, `${offer}: ${out}`)
    }
  })

  test(`${name}: with the key that the page makes, each event of the page is taken and told; the key is for this app alone`, async t => {
    const home = await folder(t)
    const { person, listens } = CHIEF[name]
    const app = await startApp(t, () => person)
    const file = join(home, 'server.toml')
    const [settings] = await adopt(name, 'toml')
    const other = NAMES.find(other => other !== name)
    const config = `${settings.replace(/app_url = "[^"]*"/, `app_url = "${app.url}"`)}\n[[profiles]]\nname = "${other}"\n`
    const hub = await startHub(t, { config })
    await writeFile(file, `[data]\ndir = "${hub.data}"\n${config}`)

    const commands = (await adopt(name, 'sh'))[0].split('\n').filter(line => line.startsWith('tidings ')).map(line => line.split('#')[0].trim().split(/\s+/).slice(1))
    assert.deepEqual(commands.map(([first]) => first), ['check-config', 'key', 'serve'])
    const at = command => command.map(word => word === 'server.toml' ? file : word)
    assert.equal((await run(...at(commands[0]))).code, 0)
    const made = await run(...at(commands[1]))
    assert.equal(made.code, 0, made.out)
    const authorization = { authorization: `Bearer ${/tdg_\S+/.exec(made.out)[0]}` }

    const heard = await listens(t, hub.url)
    const all = await events(name)
    assert.ok(all.length >= 2)
    for (const event of all) await hub.publish(event, { profile: name, headers: authorization })
    const kept = all.filter(({ name, data }) => !data?.progress?.userRef || data.progress.userRef === person.id)
    await until(() => `all; came ${heard.names()}`, () => heard.heard.length >= kept.length)
    assert.deepEqual(heard.names().sort(), kept.map(({ name }) => name).sort())
    const elsewhere = (await events(other))[0]
    await assert.rejects(hub.publish(elsewhere, { profile: other, headers: authorization }), /403/)
  })

  test(`${name}: the nginx lines of the page let an event through at once`, async t => {
    const { person, listens } = CHIEF[name]
    const { hub, post } = await startProfile(t, name, { answer: () => person })
    const nginx = await nginxOfThePage(t, name, hub)
    const heard = await listens(t, nginx.url)
    const [first] = await events(name)
    await post(first)
    await until('the event, with nothing behind it', () => heard.heard.length === 1, BEFORE_A_HEARTBEAT)
  })
}

/** Runs code of a page that is meant for the app's server; `surroundings` are what it names and does not define. */
function runServerCode(blocks, surroundings, names) {
  return new Function(...Object.keys(surroundings), `${blocks.join('\n')}\nreturn { ${names.join(', ')} }`)(...Object.values(surroundings))
}

test('immich: what the page shows for the server tells each event in order, and logs one device out', async t => {
  const people = { phone: { id: 'u1', sessionId: 's1' }, page: { id: 'u1', sessionId: 's2' }, bob: { id: 'u2', sessionId: 's3' } }
  const app = await startApp(t, ({ headers }) => people[headers.authorization?.replace('Bearer ', '')])
  const [settings] = await adopt('immich', 'toml')
  const hub = await startHub(t, { config: settings.replace(/app_url = "[^"]*"/, `app_url = "${app.url}"`) })
  const file = join(await folder(t), 'server.toml')
  await writeFile(file, `[data]\ndir = "${hub.data}"\n${settings}`)
  const keys = []
  for (const [, words] of (await adopt('immich', 'sh')).join('').matchAll(/^tidings (key create [^#\n]*)/gm)) {
    const made = await run(...words.trim().replace('server.toml', file).split(/\s+/), ...(words.includes('--config') ? [] : ['--config', file]))
    assert.equal(made.code, 0, made.out)
    keys.push(/tdg_\S+/.exec(made.out)[0])
  }
  const [KEY, OPERATOR_KEY] = keys
  const failed = []
  const { clientSend, clientBroadcast, sessionDeleted } = runServerCode(await adopt('immich', 'ts'),
    { HUB: hub.url, KEY, OPERATOR_KEY, logger: { error: error => failed.push(error) } }, ['clientSend', 'clientBroadcast', 'sessionDeleted'])

  const heard = {}
  for (const who of Object.keys(people)) heard[who] = await follow(t, await asTheImmichPageShows(hub.url, who))
  // Not waited for, as a server does: they are told in this order all the same.
  for (let n = 1; n <= 20; n++) clientSend('on_asset_trash', 'u1', [`a${n}`])
  clientSend('on_asset_stack_update', 'u1')
  clientBroadcast('on_config_update')
  clientBroadcast('on_server_version', { major: 2, minor: 4, patch: 1 })
  await sessionDeleted('s1')
  await until('the phone to be logged out', () => heard.phone.reasons.length)
  await clientSend('on_asset_delete', 'u1', 'a21')
  await clientBroadcast('on_user_delete', 'u9')
  for (const who of ['page', 'bob']) await until(`${who} to hear the last`, () => heard[who].names().includes('on_user_delete'))

  const trashed = Array.from({ length: 20 }, (_, n) => ['on_asset_trash', [`a${n + 1}`]])
  const everybody = [['on_config_update'], ['on_server_version', { major: 2, minor: 4, patch: 1 }]]
  assert.deepEqual(failed, [])
  assert.deepEqual(heard.phone.heard, [...trashed, ['on_asset_stack_update'], ...everybody, ['on_session_delete', 's1']])
  assert.deepEqual(heard.phone.reasons, ['io server disconnect'])
  assert.deepEqual(heard.page.heard, [...trashed, ['on_asset_stack_update'], ...everybody, ['on_asset_delete', 'a21'], ['on_user_delete', 'u9']])
  assert.deepEqual(heard.bob.heard, [...everybody, ['on_user_delete', 'u9']])
})

test('immich: through the nginx lines of the page all four spellings connect, and only a page of its own brings the cookie', async t => {
  const answer = ({ headers }) => headers.authorization === 'Bearer k' ? CHIEF.immich.person : undefined
  const { hub, post } = await startProfile(t, 'immich', { answer })
  const nginx = await nginxOfThePage(t, 'immich', hub)
  const open = (origin, more) => listenBySocketIo(t, nginx.url, {
    path: '/api/socket.io', transports: ['websocket'], extraHeaders: { origin, cookie: 'immich_access_token=k' }, ...more,
  })
  const all = []
  for (const path of ['/api/socket.io', '/socket.io']) for (const addTrailingSlash of [true, false]) all.push(await open(nginx.url, { path, addTrailingSlash }))
  const [first] = await events('immich')
  await post(first)
  for (const { heard, names } of all) {
    await until('each to hear', () => heard.length)
    assert.deepEqual(names(), [first.name])
  }
  const elsewhere = await open('http://127.0.0.1:1')
  await until('the page of another site to be sent away', () => elsewhere.reasons.length)
  assert.deepEqual(elsewhere.heard, [['error', 'unauthorized']])
})

test('redseat: what the page shows for Socket.IO hears each event of the page bare, through its nginx lines and in the wire of its settings', async t => {
  const { person } = CHIEF.redseat
  const answer = ({ headers }) => headers.authorization === 'Bearer k' || headers.sharetoken === 'k' ? person : undefined
  const variants = JSON.parse(/^variants = (\[.*?\])/m.exec((await adopt('redseat', 'toml'))[0])[1])
  const { hub, post } = await startProfile(t, 'redseat', { answer, variants })
  const nginx = await nginxOfThePage(t, 'redseat', hub)
  const [code] = await adopt('redseat', 'ts')
  const applied = []
  const at = (server, options) => io(server, { forceNew: true, ...options })
  const page = new Function('io', 'server', 'token', 'apply', `let me\n${code}\nreturn { socket, me: () => me }`)(
    at, nginx.url, 'k', (...medias) => applied.push(medias))
  const both = [await follow(t, page.socket), await listenBySocketIo(t, nginx.url, { auth: { sharetoken: 'k' } })]
  for (const { heard } of both) await until('to be told who it is', () => heard.length)
  assert.deepEqual(page.me(), person)
  const all = await events('redseat')
  await post(all)
  for (const { heard } of both) {
    await until('all', () => heard.length === 1 + all.length)
    assert.deepEqual(heard, [['auth', { server: person }], ...all.map(({ name, data }) => [name, data])])
  }
  const { library, medias } = all.find(({ name }) => name === 'medias').data
  assert.deepEqual(applied, [[library, medias]])
  await until('the upgrade to WebSocket', () => page.socket.io.engine.transport.name === 'websocket')
  // A wrong one stays away, and so does who brings none.
  for (const auth of [{ token: 'wrong' }, undefined]) {
    const refused = io(nginx.url, { forceNew: true, auth })
    t.after(() => refused.close())
    const reason = await new Promise(done => refused.once('disconnect', done))
    assert.deepEqual([reason, refused.active], ['io server disconnect', false])
  }
})

test('redseat: the libraries that the page shows in the options narrow what its Socket.IO clients hear', async t => {
  const { hub, post } = await startProfile(t, 'redseat', { answer: () => CHIEF.redseat.person })
  const [, options] = /`io\(server, (\{.*?\} \})\)`/.exec(await readFile(join(root, 'docs/adopt/redseat.md'), 'utf8'))
  const narrow = await listenBySocketIo(t, hub.url, { auth: { token: 'k' }, ...new Function(`return ${options}`)() })
  const libraries = ['lib1', 'lib3', 'lib2']
  for (const library of libraries) await post({ name: 'medias', data: { library, medias: [] } })
  await until('the last', () => narrow.heard.some(([, { library }]) => library === 'lib2'))
  assert.deepEqual(narrow.heard.flatMap(([, { library }]) => library ?? []), ['lib1', 'lib2'])
})

test('bindery: what the page shows for the browser hears all, and comes back after a refusal', async t => {
  let person = { id: 2, role: 'user' }
  const { hub, post } = await startProfile(t, 'bindery', { answer: () => person, basePath: '/books' })
  const [code] = await adopt('bindery', 'ts')
  const called = [], sources = []
  class Page extends EventSource {
    constructor(path) {
      super(hub.url + path, { fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, cookie: 'bindery_session=v3.x' } }) })
      sources.push(this)
    }
  }
  t.after(() => sources.forEach(source => source.close()))
  const note = name => (...args) => called.push([name, ...args])
  const soon = (then, milliseconds) => { called.push(['wait', milliseconds]); return setTimeout(then, 20) }
  new Function('window', 'EventSource', 'invalidateBook', 'invalidateQueue', 'setRefresh', 'invalidateAll', 'setTimeout', code)(
    { __BINDERY_BASE__: '/books' }, Page, note('book'), note('queue'), note('refresh'), note('all'), soon)
  await until('to open', () => sources[0].readyState === 1)
  const all = (await events('bindery')).filter(({ name }) => name !== 'download.progress')
  await post(all)
  await until('the three', () => called.length === 3)
  assert.deepEqual(called.map(([name]) => name).sort(), ['book', 'queue', 'refresh'])
  assert.deepEqual(called.find(([name]) => name === 'book'), ['book', 42])
  // The app is away while the hub comes back: the stream is opened and told to come back later, which EventSource does by itself.
  person = 500
  await hub.crash()
  let retries = 0, opens = 0
  sources[0].addEventListener('tidings.close', () => retries++)
  sources[0].addEventListener('tidings.open', () => opens++)
  await until('the stream to be told to come back', () => retries > 0)
  person = { id: 2, role: 'user' }
  await until('the same EventSource to be let in', () => opens > 0)
  assert.equal(sources.length, 1)
  // Logged out: that ends an EventSource for good.
  person = 401
  called.length = 0
  await hub.crash()
  await until('the page to try again by itself', () => sources.length >= 2)
  person = { id: 2, role: 'user' }
  await until('to open again', () => sources.at(-1).readyState === 1)
  assert.ok(called.some(([name]) => name === 'all'), 'what was missed is fetched')
  assert.ok(called.some(([name, wait]) => name === 'wait' && wait === 10_000))
})

test('the profile that docs/profiles.md shows has no mistake', async t => {
  const home = await folder(t)
  const [, profile] = await blocks('profiles.md', 'toml')
  await writeFile(join(home, 'profile.toml'), profile)
  const { code, out } = await run('check-config', home)
  assert.equal(code, 0, out)
})

test('the sources that docs/auth.md shows have no mistake', async t => {
  const home = await folder(t)
  for (const block of await blocks('auth.md', 'toml')) {
    await writeFile(join(home, 'server.toml'), block)
    const { code, out } = await run('check-config', join(home, 'server.toml'))
    assert.equal(code, 0, `${block}${out}`)
  }
})
