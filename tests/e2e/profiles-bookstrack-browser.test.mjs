// The book service's published client in Chromium, on a page of another origin, with the browser's own EventSource and WebSocket.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { claim, startBooks } from './harness/jobs.mjs'
import { startChromium } from './harness/chromium.mjs'
import { root } from './harness/hub.mjs'
import { until } from './harness/wait.mjs'

const CLIENT = join(root, 'tests/e2e/node_modules/@jukasdrj/bookstrack-api-client/dist/streaming.js')

/** A page of the app, which has the client and says what it heard. */
async function openPage(t) {
  const client = await readFile(CLIENT)
  const server = http.createServer((request, response) => {
    const isClient = request.url === '/streaming.js'
    response.writeHead(200, { 'content-type': isClient ? 'text/javascript' : 'text/html' })
    response.end(isClient ? client : '<!doctype html><title>Books</title>')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  const page = await (await startChromium(t)).newPage()
  const heard = []
  await page.exposeFunction('heard', (...said) => heard.push(said))
  await page.goto(`http://127.0.0.1:${server.address().port}/`)
  return { page, heard, hears: name => until(`${name}; heard ${JSON.stringify(heard)}`, () => heard.find(([found]) => found === name)) }
}

test('a page of another origin uploads a list, watches the import and cancels it', async t => {
  const hub = await startBooks(t)
  const { page, heard, hears } = await openPage(t)
  const made = await page.evaluate(async hub => {
    const { createSSEStream } = await import('/streaming.js')
    const form = new FormData()
    form.append('file', new Blob(['Title\nDune\n'], { type: 'text/csv' }), 'books.csv')
    const { data } = await (await fetch(`${hub}/api/v2/imports`, { method: 'POST', body: form })).json()
    window.source = createSSEStream({
      sseUrl: data.sseUrl,
      onProgress: event => window.heard('progress', event), onComplete: event => window.heard('completed', event),
      onFailed: event => window.heard('failed', event), onError: error => window.heard('error', error.message),
    })
    window.source.addEventListener('canceled', event => { window.heard('canceled', JSON.parse(event.data)); window.source.close() })
    return data
  }, hub.url)
  assert.equal((await hears('progress'))[1].status, 'initialized')
  const worker = await claim(hub, 'import')
  const canceling = worker.heartbeat('50s')
  const answer = await page.evaluate(async ({ hub, jobId, authToken }) => {
    const response = await fetch(`${hub}/api/v2/jobs/${jobId}/cancel`, { method: 'DELETE', headers: { authorization: `Bearer ${authToken}` } })
    return response.json()
  }, { hub: hub.url, ...made })
  assert.deepEqual([answer.success, answer.data.status, (await canceling).cancel], [true, 'canceled', true])
  await worker.canceled()
  assert.equal((await hears('canceled'))[1].status, 'canceled')
  assert.deepEqual(heard.filter(([name]) => ['error', 'failed', 'completed'].includes(name)), [])
})

test('a page of another origin has books enriched: the browser takes the handshake, and the close is clean', async t => {
  const hub = await startBooks(t)
  const { page, heard, hears } = await openPage(t)
  await page.evaluate(async hub => {
    const { createWebSocketStream } = await import('/streaming.js')
    const body = JSON.stringify({ books: [{ title: 'Dune' }], jobId: crypto.randomUUID() })
    const made = await (await fetch(`${hub}/v1/enrichment/batch`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json()
    const { ws } = createWebSocketStream({
      ...made.data,
      onConnected: () => window.heard('connected'), onProgress: message => window.heard(message.type, message),
      onComplete: message => window.heard('complete', message), onError: error => window.heard('error', error.message),
    })
    ws.addEventListener('message', ({ data }) => { if (data.includes('ready_ack')) window.heard('ready_ack') })
    ws.addEventListener('close', ({ wasClean, code }) => window.heard('close', wasClean, code))
  }, hub.url)
  await hears('ready_ack')
  const worker = await claim(hub, 'enrichment')
  await worker.progress(0, 1, { item: { title: 'Dune' } })
  await until('the book in progress', () => heard.some(([name, message]) => name === 'progress' && message.currentBook.title === 'Dune'))
  await worker.hand([{ index: 0, status: 'found', book: { title: 'Dune', language: 'en' } }], { tell: true })
  await worker.complete({ total: 1 })
  assert.equal((await hears('close'))[1], true, 'clean')
  assert.deepEqual(heard.find(([name]) => name === 'book_enriched')[1].book, { title: 'Dune', language: 'en' })
  assert.deepEqual(heard.filter(([name]) => ['error', 'complete'].includes(name)).map(([name]) => name), ['complete'])
})
