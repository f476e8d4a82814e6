// The fault proxy does to a link what it says.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { DOWN, startFaultProxy, UP } from './harness/faults.mjs'
import { until } from './harness/wait.mjs'

/** A server that says back what it hears, a proxy to it, and what is between. */
async function startEcho(t) {
  const heard = []
  const server = net.createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {})
    socket.on('data', bytes => { heard.push(bytes.toString()); socket.write(bytes) })
    socket.on('end', () => { heard.push('end'); socket.end() })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return { proxy: await startFaultProxy(t, server.address().port), heard: () => heard.join('') }
}

function connect(t, proxy) {
  const socket = net.connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
  t.after(() => socket.destroy())
  const client = { socket, got: '', error: undefined, ended: false }
  socket.setEncoding('utf8').on('data', text => { client.got += text })
  socket.on('error', error => { client.error = error })
  socket.on('end', () => { client.ended = true })
  return client
}

const gets = (client, text) => until(() => `${text}; ${client.got} came`, () => client.got === text)

async function startPair(t) {
  const echo = await startEcho(t)
  const client = connect(t, echo.proxy)
  client.socket.write('a')
  await gets(client, 'a')
  return { ...echo, client }
}

test('a link that is well passes bytes and ends', async t => {
  const { client, heard, proxy } = await startPair(t)
  client.socket.end('b')
  await gets(client, 'ab')
  await until('the end to come back', () => client.ended)
  assert.equal(heard(), 'abend')
  await until('the connection to be gone', () => proxy.connections === 0)
})

test('a cut link resets what is open and what comes, until it is healed', async t => {
  const { client, proxy } = await startPair(t)
  proxy.cut()
  await until('the reset', () => client.error?.code === 'ECONNRESET')
  const next = connect(t, proxy)
  await until('the next to be refused', () => next.error?.code === 'ECONNRESET')
  proxy.heal()
  const third = connect(t, proxy)
  third.socket.write('c')
  await gets(third, 'c')
})

test('a reset link takes who comes back at once', async t => {
  const { client, proxy } = await startPair(t)
  proxy.reset()
  await until('the reset', () => client.error?.code === 'ECONNRESET')
  const next = connect(t, proxy)
  next.socket.write('b')
  await gets(next, 'b')
})

test('a delayed link passes everything in order, and later', async t => {
  const { client, proxy } = await startPair(t)
  proxy.delay(60)
  const begin = performance.now()
  for (const letter of 'bcdefgh') client.socket.write(letter)
  await gets(client, 'abcdefgh')
  const took = performance.now() - begin
  assert.ok(took >= 115, `60 ms each way took ${took} ms`)
})

test('a half-open link swallows one direction, closes nothing, and gives it when it is healed', async t => {
  for (const [direction, heardMeanwhile] of [[UP, 'a'], [DOWN, 'ab']]) {
    const { client, heard, proxy } = await startPair(t)
    proxy.halfOpen(direction)
    client.socket.write('b')
    if (direction === DOWN) await until('what passes', () => heard() === 'ab')
    await nothingComes(client)
    assert.equal(heard(), heardMeanwhile, direction)
    assert.equal(client.error, undefined)
    proxy.heal()
    await gets(client, 'ab')
  }
})

test('a black hole passes nothing and closes nothing, not even for who comes new or leaves', async t => {
  const { client, heard, proxy } = await startPair(t)
  proxy.blackhole()
  client.socket.end('b')
  const next = connect(t, proxy)
  await once(next.socket, 'connect')
  next.socket.write('c')
  await nothingComes(client, next)
  assert.equal(heard(), 'a')
  assert.deepEqual([client.ended, client.error, next.error], [false, undefined, undefined])
  proxy.heal()
  await gets(client, 'ab')
  await gets(next, 'c')
  await until('the end to come back', () => client.ended)
})

test('a slow reader holds up who writes, and loses nothing', async t => {
  const bytes = Buffer.alloc(64 << 20, 'x')
  let writer
  const server = net.createServer(socket => {
    writer = socket.on('error', () => {})
    socket.end(bytes)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const proxy = await startFaultProxy(t, server.address().port)
  const client = connect(t, proxy)
  client.socket.pause()
  let [left, turns] = [-1, 0]
  await until('the writer to stand still', () => {
    const before = left
    left = writer?.writableLength
    turns = left > 0 && left === before ? turns + 1 : 0
    return turns === 50
  })
  client.socket.resume()
  await until('all of it', () => client.ended)
  assert.equal(client.got.length, bytes.length)
})

/** Bytes that were to pass would have gone around the loopback several times by now. */
async function nothingComes(...clients) {
  const before = clients.map(({ got }) => got)
  for (let turn = 0; turn < 50; turn++) await new Promise(done => setImmediate(done))
  await new Promise(done => setTimeout(done, 50))
  assert.deepEqual(clients.map(({ got }) => got), before)
}
