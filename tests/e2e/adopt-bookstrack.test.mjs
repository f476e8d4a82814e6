// The page on adopting the hub for the book service, followed word by word.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventSource } from 'eventsource'
import { WebSocket } from 'ws'
import { createSSEStream, createWebSocketStream } from '@jukasdrj/bookstrack-api-client/dist/streaming.js'
import { root, run, startHub } from './harness/hub.mjs'
import { ask } from './harness/jobs.mjs'
import { startNginx } from './harness/nginx.mjs'
import { startWorker } from './harness/worker.mjs'
import { until } from './harness/wait.mjs'

Object.assign(globalThis, { EventSource, WebSocket })

const page = await readFile(join(root, 'docs/adopt/bookstrack.md'), 'utf8')
const blocks = kind => [...page.matchAll(new RegExp(`\`\`\`${kind}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(([, text]) => text)
const [settings] = blocks('toml')
const [commands, trial] = blocks('sh')
const [pipeline, client] = blocks('js')

/** A hub with the settings of the page, and the key that its command makes. */
async function startAsThePageSays(t) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-adopt-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const hub = await startHub(t, { config: settings })
  const file = join(home, 'server.toml')
  await writeFile(file, `[data]\ndir = "${hub.data}"\n${settings}`)
  const lines = commands.split('\n').filter(line => line.startsWith('tidings ')).map(line => line.split('#')[0].replaceAll("'", '').trim().split(/\s+/).slice(1))
  assert.deepEqual(lines.map(([first]) => first), ['check-config', 'key', 'serve'])
  const made = await run(...lines[1].map(word => word === 'server.toml' ? file : word))
  assert.equal(made.code, 0, made.out)
  return { hub, home, key: /tdg_\S+/.exec(made.out)[0] }
}

/** The worker that the page starts. */
function startWorkerOfThePage(t, hub, key) {
  const [line] = commands.split('\n').filter(line => line.includes('tidings-books'))
  const [, ...args] = line.split('tidings-books ')[1].split(/\s+/)
  return startWorker(t, hub, { key, args })
}

/** The script of a page, run by the shell in `home`. */
async function shell(t, script, home) {
  const child = spawn('sh', ['-eu', '-c', script], { cwd: home, stdio: ['ignore', 'pipe', 'ignore'] })
  t.after(() => child.kill('SIGKILL'))
  let out = ''
  child.stdout.setEncoding('utf8').on('data', text => { out += text })
  assert.equal((await once(child, 'close'))[0], 0, out)
  return out
}

test('the settings of the page have no mistake, with each line that is commented out as well', async t => {
  const home = await mkdtemp(join(tmpdir(), 'tidings-adopt-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const lines = settings.split('\n')
  const offers = lines.filter(line => /^# \w+ = /.test(line))
  assert.equal(offers.length, 2)
  for (const offer of [undefined, ...offers]) {
    await writeFile(join(home, 'server.toml'), lines.map(line => line === offer ? line.slice(2) : line).join('\n'))
    const { code, out } = await run('check-config', join(home, 'server.toml'))
    assert.equal(code, 0, `${offer}: ${out}`)
  }
})

test('with the key and the worker of the page an import is done, and what the page tries works as it says', async t => {
  const { hub, home, key } = await startAsThePageSays(t)
  startWorkerOfThePage(t, hub, key)
  await writeFile(join(home, 'books.csv'), 'Title,Author\nDune,Frank Herbert\n')
  const out = await shell(t, trial.replace('http://127.0.0.1:8090', hub.url), home)
  const { books } = JSON.parse(/event: completed\ndata: (.*)\n/.exec(out)[1])
  assert.deepEqual(books, [{ title: 'Dune', authors: ['Frank Herbert'] }])
  assert.match(out, /"status":"completed"/)
  assert.match(out, /"code":"JOB_ALREADY_ENDED"/)
  const elsewhere = await ask(`${hub.url}/v1/jobs/claim?profile=default`, { token: key, body: { kinds: ['import'], wait: '1s' } })
  assert.equal(elsewhere.status, 403, `the key is for this profile alone: ${elsewhere.text}`)
})

test('through the nginx lines of the page the links lead back through nginx, a stream is live, and a WebSocket is opened', async t => {
  const { hub, key } = await startAsThePageSays(t)
  const [lines] = blocks('nginx')
  const nginx = await startNginx(t, hub, port => `server { listen 127.0.0.1:${port};\n${lines.replaceAll('127.0.0.1:8090', `127.0.0.1:${hub.port}`)}\n}`)
  const shown = [], done = []
  const run = new Function('csvFile', 'api', 'createSSEStream', 'show', 'done', 'fail', `return (async () => {\n${client.replace('createSSEStream(', 'return createSSEStream(')}\n})()`)
  const source = await run(new Blob(['Title\nDune\nEmma\n']), nginx.url, createSSEStream, part => shown.push(part), (...args) => done.push(args), assert.fail)
  t.after(() => source.close())
  assert.ok(source.url.startsWith(nginx.url), source.url)
  await until('the first', () => shown.length)
  assert.deepEqual(shown, [0], 'at once, with nothing behind it')
  startWorkerOfThePage(t, hub, key)
  await until('the end', () => done.length)
  const [[books, count]] = done
  assert.deepEqual([books.map(({ title }) => title), count], [['Dune', 'Emma'], 2])

  // The pipeline of the page does an enrichment that the published client watches.
  const made = await ask(`${nginx.url}/v1/enrichment/batch`, { body: { books: [{ title: 'Dune' }, { title: 'Emma' }] } })
  const { websocketUrl, authToken, jobId } = made.body.data
  assert.ok(websocketUrl.startsWith(nginx.url.replace('http', 'ws')), websocketUrl)
  const called = []
  const { ws } = createWebSocketStream({
    websocketUrl, authToken, jobId,
    onConnected: () => called.push('connected'), onComplete: message => called.push(message),
    onProgress: message => called.push(message), onError: assert.fail,
  })
  t.after(() => ws.terminate())
  await until('to be connected', () => called.length)
  const work = new Function('hub', 'key', 'enrich', `${pipeline}\nreturn work`)(hub.url, key, async book => ({ ...book, language: 'en' }))
  await work()
  await until('the end', () => called.at(-1).type === 'job_complete')
  const enriched = called.filter(({ type }) => type === 'book_enriched').map(({ book }) => book)
  assert.deepEqual(enriched, [{ title: 'Dune', language: 'en' }, { title: 'Emma', language: 'en' }])
  assert.deepEqual(called.at(-1).summary, { total: 2 })
})

test('what the page shows for workers stops when somebody cancels', async t => {
  const { hub, key } = await startAsThePageSays(t)
  const { jobId, authToken } = (await ask(`${hub.url}/v1/enrichment/batch`, { body: { books: [{ title: 'Dune' }, { title: 'Emma' }] } })).body.data
  const asked = []
  const enrich = async book => {
    asked.push(book.title)
    const canceled = await ask(`${hub.url}/api/v2/jobs/${jobId}/cancel`, { method: 'DELETE', token: authToken })
    assert.equal(canceled.status, 200)
    return book
  }
  await new Function('hub', 'key', 'enrich', `${pipeline}\nreturn work`)(hub.url, key, enrich)()
  assert.deepEqual(asked, ['Dune'])
  assert.equal((await ask(`${hub.url}/api/job-state/${jobId}`, { token: authToken })).body.data.status, 'canceled')
})
