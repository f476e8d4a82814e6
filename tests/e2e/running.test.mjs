// How the program starts, says what it is, and stops.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventSource } from 'eventsource'
import { root, run, startHub } from './harness/hub.mjs'
import { curl, startCurl } from './harness/curl.mjs'
import { until, within } from './harness/wait.mjs'

test('the two curl lines that a start prints work as they are pasted', async t => {
  const hub = await startHub(t)
  const commands = hub.output.split('\n').filter(line => line.includes('curl ')).map(line => line.slice(line.indexOf('curl ')))
  const listen = commands.find(line => line.includes('/v1/events'))
  const publish = commands.find(line => line.includes('/v1/publish'))
  assert.ok(listen && publish, `the start printed:\n${hub.output}`)

  const listener = spawn('sh', ['-c', `exec ${listen}`], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => listener.kill('SIGKILL'))
  let heard = ''
  listener.stdout.setEncoding('utf8').on('data', text => { heard += text })
  await until('the listener to be on', () => heard.includes('tidings.open'))
  const before = heard.length
  const publisher = spawn('sh', ['-c', publish], { stdio: ['ignore', 'pipe', 'pipe'] })
  let answer = ''
  publisher.stdout.setEncoding('utf8').on('data', text => { answer += text })
  assert.equal((await once(publisher, 'close'))[0], 0)
  assert.match(answer, /"cursor":\s*"[0-9a-f]{8}-\d+"/)
  await until('the event at the listener', () => /\ndata:/.test(heard.slice(before)))
})

test('health, readiness and metrics answer, and count the streams', async t => {
  const hub = await startHub(t)
  assert.equal((await curl(`${hub.url}/health`)).status, 200)
  assert.equal((await curl(`${hub.url}/ready`)).status, 200)
  const stream = startCurl(t, `${hub.url}/v1/events`, () => {})
  await until('the stream to open', () => stream.bytes().includes('tidings.open'))
  const metrics = await curl(`${hub.url}/metrics`)
  assert.equal(metrics.status, 200)
  assert.match(metrics.body, /^# TYPE tidings_/m)
  assert.match((await curl(`${hub.url}/ready`)).body, /"sse(_clients)?":\s*1\b/)
})

test('every metric in the docs exists, and every metric is in the docs', async t => {
  const hub = await startHub(t)
  const stream = startCurl(t, `${hub.url}/v1/events`, () => {})
  await until('the stream to open', () => stream.bytes().includes('tidings.open'))
  const told = (await curl(`${hub.url}/metrics`)).body.match(/(?<=^# TYPE )\w+/gm).filter(name => name.startsWith('tidings_'))
  const documented = (await readFile(join(root, 'docs/metrics.md'), 'utf8')).match(/\btidings_\w+/g)
  assert.deepEqual([...new Set(documented)].sort(), [...new Set(told)].sort())
})

/** Twenty streams of a hub, each in a program of its own. */
async function openStreams(t, hub) {
  const streams = Array.from({ length: 20 }, () => startCurl(t, `${hub.url}/v1/events`, () => {}, { again: false }))
  await until('all streams to open', () => streams.every(stream => stream.bytes().includes('tidings.open')))
  return streams
}

test('on SIGTERM readiness flips before a stream ends, so that a load balancer looks elsewhere first', async t => {
  // The delay is longer than the test.
  const hub = await startHub(t, { env: { TIDINGS_DRAIN__DELAY: '1h' } })
  const streams = await openStreams(t, hub)
  hub.process.kill('SIGTERM')
  await until('readiness to flip', async () => (await curl(`${hub.url}/ready`)).status === 503)
  assert.deepEqual(streams.map(stream => stream.code()), streams.map(() => undefined), 'all are open')
  assert.equal((await curl(`${hub.url}/health`)).status, 200)
  await hub.publish({ name: 'told', topic: 'drain', data: {} })
  await until('all to be told', () => streams.every(stream => stream.bytes().includes('event: told')))
})

test('after the delay each stream ends with a retry and no error, and the program ends with 0', async t => {
  // Who is not sent away within twice the window is cut: it is far longer than anything stands still.
  const hub = await startHub(t, { env: { TIDINGS_LIMITS__DRAIN_WINDOW: '8s', TIDINGS_DRAIN__DELAY: '1s' } })
  const streams = await openStreams(t, hub)
  const opened = streams.map(stream => stream.bytes().length)
  hub.process.kill('SIGTERM')
  const { code, signal } = await within(60_000, hub.ended, 'the program to end')
  assert.deepEqual({ code, signal }, { code: 0, signal: null })
  await Promise.all(streams.map(stream => stream.finished))
  for (const [index, stream] of streams.entries()) {
    assert.equal(stream.code(), 0, 'curl calls it a clean end')
    assert.match(stream.bytes().slice(opened[index]), /^retry: ?\d+$/m)
  }
})

test('an EventSource goes through a restart by SIGTERM and misses nothing', async t => {
  const hub = await startHub(t, { env: { TIDINGS_LIMITS__DRAIN_WINDOW: '1s' } })
  const source = new EventSource(`${hub.url}/v1/events?topic=count/*`)
  t.after(() => source.close())
  const seen = []
  let open = false
  source.addEventListener('tidings.open', () => { open = true })
  source.addEventListener('counted', event => seen.push(JSON.parse(event.data).n))
  await until('the stream to open', () => open)
  await hub.publish({ name: 'counted', topic: 'count/here', data: { n: 1 } })
  await until('the first event', () => seen.length === 1)
  hub.process.kill('SIGTERM')
  assert.equal((await within(60_000, hub.ended, 'the program to end')).code, 0)
  await hub.start()
  await hub.publish({ name: 'counted', topic: 'count/here', data: { n: 2 } })
  await until('the event after the restart', () => seen.length >= 2)
  assert.deepEqual(seen, [1, 2])
})

test('tidings health ends with 0 while the hub is well, and with 1 when it is gone', async t => {
  const hub = await startHub(t)
  assert.equal((await run('health', '--url', hub.url)).code, 0)
  await hub.kill()
  assert.equal((await run('health', '--url', hub.url)).code, 1)
})

test('development mode listens on this machine only', async () => {
  const { code, out } = await run('serve', '--dev', '--listen', '0.0.0.0:0')
  assert.notEqual(code, 0)
  assert.match(out, /this machine only/)
})

test('the settings that default-config prints have no mistake, and an unknown key is found with its line', async t => {
  const home = await mkdtemp(join(tmpdir(), 'tidings-config-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const file = join(home, 'server.toml')
  const settings = await run('default-config')
  await writeFile(file, settings.out)
  const right = await run('check-config', '--config', file)
  assert.equal(right.code, 0, right.out)
  await writeFile(file, '[listen]\n\n[broker]\nkeep_four = "1d"\n')
  const wrong = await run('check-config', '--config', file)
  assert.notEqual(wrong.code, 0)
  assert.match(wrong.out, /server\.toml:4[\s\S]*keep_for/)
})
