// A job in two tabs of one browser: uploaded in one, watched in both, canceled from the other.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { startChromium } from './harness/chromium.mjs'
import { startHub } from './harness/hub.mjs'
import { claim } from './harness/jobs.mjs'
import { startPage } from './harness/page.mjs'
import { until } from './harness/wait.mjs'

const work = hub => claim(hub, 'import', { profile: '', key: '' })
/** Until a tab shows this of the job. */
const shows = (tab, shown) =>
  tab.locator(`section${Object.entries(shown).map(([name, value]) => `[data-${name}="${value}"]`).join('')}`).waitFor({ state: 'attached' })

/** A tab with a file uploaded, its worker, and a second tab that watches the job. */
async function start(t, { size = 1_000, slow = false } = {}) {
  const hub = await startHub(t, { env: { TIDINGS_JOBS__CANCEL_GRACE: '10m', TIDINGS_LIMITS__REQUEST_TIMEOUT: '10m' } })
  const url = await startPage(t, 'jobs-app', hub)
  const browser = await startChromium(t)
  const context = await browser.newContext()
  const errors = []
  const open = async address => {
    const tab = await context.newPage()
    tab.on('pageerror', error => errors.push(error.message))
    await tab.goto(address)
    await tab.locator('main[data-status=open]').waitFor({ state: 'attached' })
    return tab
  }
  const first = await open(url)
  const file = { name: 'books.csv', mimeType: 'text/csv', buffer: Buffer.alloc(size, 'a book\n') }
  if (slow) {
    // A line so slow that the sending takes minutes, until it has been seen.
    const devtools = await context.newCDPSession(first)
    await devtools.send('Network.enable')
    const upload = bytes => devtools.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: bytes })
    await upload(10_000)
    await first.locator('input').setInputFiles(file)
    await until('a part to be sent', () => first.evaluate(() => window.sent.some(part => part > 0 && part < 1)))
    await upload(-1)
  } else {
    await first.locator('input').setInputFiles(file)
  }
  await shows(first, { state: 'queued', sent: 1 })
  const id = await first.locator('section').getAttribute('data-id')
  const second = await open(`${url}?job=${id}`)
  await shows(second, { state: 'queued' })
  return { hub, file, first, second, both: [first, second], id, worker: await work(hub), errors }
}

test('a job that was uploaded in one tab is seen in both to its end, and by whoever hears all jobs', async t => {
  const { file, both, first, id, worker, errors } = await start(t, { size: 1_000_000, slow: true })
  const sent = await first.evaluate(() => window.sent)
  assert.deepEqual(sent, [...sent].sort((one, other) => one - other))
  assert.equal((await worker.file()).text, file.buffer.toString())
  await worker.progress(1, 4)
  for (const tab of both) await shows(tab, { state: 'running', progress: 0.25 })
  await worker.progress(3, 4)
  for (const tab of both) await shows(tab, { state: 'running', progress: 0.75 })
  await worker.complete({ rows: 4 })
  for (const tab of both) {
    await shows(tab, { state: 'completed', progress: 1 })
    await until('the result', async () => await tab.locator('output').textContent() === '{"rows":4}')
    await until('the end to be heard', async () => {
      const heard = (await tab.locator('main').textContent()).split('\n')
      return heard.some(line => line.startsWith(`job/${id} `) && line.includes('completed'))
    })
  }
  assert.deepEqual(errors, [])
})

test('a job is canceled from the other tab, and both see it', async t => {
  const { both, second, worker, errors } = await start(t)
  await worker.progress(1, 4)
  for (const tab of both) await shows(tab, { state: 'running' })
  await second.locator('button').click()
  await shows(second, { state: 'running', canceling: true })
  await worker.heartbeat('5s')
  await worker.canceled()
  for (const tab of both) await shows(tab, { state: 'canceled' })
  await shows(second, { canceling: false })
  assert.deepEqual(errors, [])
})
