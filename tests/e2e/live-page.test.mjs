// The plain live page at `/`.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { root, startHub } from './harness/hub.mjs'
import { startChromium } from './harness/chromium.mjs'
import { until } from './harness/wait.mjs'

async function openPage(t, hub, options = {}) {
  const browser = await startChromium(t)
  const page = await browser.newPage({ viewport: { width: 1180, height: 880 }, ...options })
  const errors = []
  page.on('pageerror', error => errors.push(error.message))
  page.on('console', message => { if (/content security policy/i.test(message.text())) errors.push(message.text()) })
  await page.goto(hub.url)
  await page.locator('#state[data-is=live]').waitFor()
  return { page, errors }
}

/** Uploads a small list by the form of the page, for a job of the kind that the page proposes. */
async function upload(page, name) {
  await page.locator('#file').setInputFiles({ name, mimeType: 'text/csv', buffer: Buffer.from('Title,Author\nEmma,Jane Austen\n') })
  await page.getByRole('button', { name: 'Start' }).click()
  await page.locator('#uploaded', { hasText: `${name} is with the hub` }).waitFor()
}

/** Plays the worker: has the next import, and says things about it. */
async function claim(hub) {
  const post = async (path, body, headers) => {
    const response = await fetch(new URL(path, hub.url), { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
    assert.equal(response.status, 200, `${path}: ${await response.clone().text()}`)
    return response.json()
  }
  const { job, lease } = await post('v1/jobs/claim', { kinds: ['import'], wait: '50s', lease: '10m' })
  return { job, say: (what, body) => post(`v1/jobs/${job.id}/${what}`, body, { authorization: `Bearer ${lease}` }) }
}

test('the picture in the docs is what the live page looks like', { skip: !process.env.UPDATE_SCREENSHOTS }, async t => {
  const hub = await startHub(t)
  const { page } = await openPage(t, hub, { colorScheme: 'light' })
  await upload(page, 'goodreads_library_export.csv')
  const done = await claim(hub)
  await done.say('items?from=0', [{ title: 'The Left Hand of Darkness', authors: ['Ursula K. Le Guin'] }])
  await done.say('progress', { done: 512, total: 512 })
  await done.say('complete', { result: { imported: 511, failed: 1 } })
  await upload(page, 'storygraph.csv')
  await (await claim(hub)).say('progress', { done: 318, total: 512, message: 'A Wizard of Earthsea' })
  await page.locator('.how', { hasText: '318' }).waitFor()
  await hub.publish([
    { name: 'item.created', topic: 'item/A01-0002', data: { part_number: 'A01-0002', description: 'FILAMENT WINDING UNIT ASSY' } },
    { name: 'queue.changed', topic: 'queue', data: { action: 'added', id: 7, bookId: 42, status: 'downloading' } },
    { name: 'queue.changed', topic: 'queue', data: { action: 'removed', id: 7, bookId: 42 } },
    { name: 'book.updated', topic: 'book/42', data: { id: 42, status: 'imported', filePath: '/books/a.epub' } },
  ])
  await page.getByRole('button', { name: 'Publish' }).click()
  await page.locator('.name', { hasText: 'hello.said' }).waitFor()
  await page.locator('#answer', { hasText: 'Kept' }).waitFor()
  await page.locator('#events summary').nth(2).click()
  await mkdir(join(root, 'docs/images'), { recursive: true })
  await page.screenshot({ path: join(root, 'docs/images/live-page.png'), animations: 'disabled', fullPage: true })
})

test('the live page publishes through its form and shows the event', async t => {
  const hub = await startHub(t)
  const { page, errors } = await openPage(t, hub, { colorScheme: 'light' })
  await page.getByLabel('Event name', { exact: true }).fill('greeting.sent')
  await page.getByLabel('Topic', { exact: true }).fill('greetings/world')
  await page.getByLabel('Data, as JSON').fill('{"text": "Hello", "big": 12345678901234567890}')
  await page.getByRole('button', { name: 'Publish' }).click()
  const row = page.locator('#events > li').first()
  await row.locator('.name', { hasText: 'greeting.sent' }).waitFor()
  // The number is larger than JavaScript can hold, and came through as it was typed.
  assert.match(await row.locator('.data').textContent(), /12345678901234567890/)
  await page.locator('#answer', { hasText: /Kept at [0-9a-f]{8}-\d+/ }).waitFor()
  await row.locator('summary').press('Enter') // the keyboard opens a row
  assert.equal(await row.locator('pre').textContent(), '{\n  "text": "Hello",\n  "big": 12345678901234567890\n}')
  assert.match(await row.locator('code').textContent(), /^[0-9a-f]{8}-\d+$/)
  assert.deepEqual(errors, [])
})

test('the live page uploads a file, and shows how its job goes on and what came of it', async t => {
  const hub = await startHub(t)
  const { page, errors } = await openPage(t, hub)
  await upload(page, 'books.csv')
  const row = page.locator('#jobs > li')
  await row.locator('.how', { hasText: 'waiting for a worker' }).waitFor()
  const work = await claim(hub)
  assert.equal(work.job.file.name, 'books.csv')
  await work.say('progress', { done: 25, total: 100, message: 'Emma' })
  await row.locator('.how', { hasText: 'running · 25 of 100 · Emma' }).waitFor()
  assert.equal(await row.getByRole('progressbar').getAttribute('aria-valuenow'), '25')
  await work.say('items?from=0', [{ title: '<b>Emma</b>', authors: ['Jane Austen'] }])
  await work.say('progress', { done: 100 })
  await work.say('complete', { result: { imported: 1 } })
  await row.locator('.track[data-is=completed]').waitFor()
  await row.getByRole('button', { name: 'Result (1)' }).click()
  await row.locator('tr').nth(1).waitFor()
  assert.deepEqual(await row.locator('tr').nth(1).locator('td').allTextContents(), ['<b>Emma</b>', 'Jane Austen'])
  assert.equal(await row.locator('td b').count(), 0)
  assert.deepEqual(errors, [])
  // What is there already is shown to whoever comes later.
  await page.reload()
  await row.locator('.how', { hasText: 'completed · 100 of 100' }).waitFor()
})

test('the live page cancels a job, and shows it when the worker has stopped', async t => {
  const hub = await startHub(t, { env: { TIDINGS_JOBS__CANCEL_GRACE: '10m' } })
  const { page, errors } = await openPage(t, hub)
  await upload(page, 'books.csv')
  const work = await claim(hub), row = page.locator('#jobs > li')
  await work.say('progress', { done: 1, total: 3 })
  await row.getByRole('button', { name: 'Cancel' }).click()
  await row.locator('.how', { hasText: 'canceling' }).waitFor()
  assert.equal((await work.say('heartbeat', { wait: '50s' })).cancel, true)
  await work.say('canceled', {})
  await row.locator('.how', { hasText: 'canceled' }).waitFor()
  await row.locator('.track[data-is=canceled]').waitFor()
  assert.equal(await row.getByRole('button', { name: 'Cancel' }).isVisible(), false)
  assert.deepEqual(errors, [])
})

test('the live page goes on with its jobs after a crash of the hub', async t => {
  const hub = await startHub(t)
  const { page } = await openPage(t, hub)
  await upload(page, 'books.csv')
  const work = await claim(hub), row = page.locator('#jobs > li')
  await work.say('progress', { done: 1, total: 3 })
  await row.locator('.how', { hasText: '1 of 3' }).waitFor()
  await hub.crash()
  // The lease counts on: the worker need not begin anew.
  await work.say('progress', { done: 2, total: 3 })
  await row.locator('.how', { hasText: '2 of 3' }).waitFor()
  await work.say('complete', {})
  await row.locator('.track[data-is=completed]').waitFor()
})

test('the live page shows markup in events as text', async t => {
  const hub = await startHub(t)
  const { page, errors } = await openPage(t, hub)
  const markup = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'
  await hub.publish({ name: 'x<b>y</b>', topic: 'count/here', data: { markup } })
  await page.locator('.data', { hasText: 'onerror' }).waitFor()
  assert.equal(await page.locator('#events img, #events script, #events b').count(), 0)
  assert.equal(await page.evaluate(() => window.harmed), undefined)
  assert.deepEqual(errors, [])
})

test('the live page goes on by itself after a crash, without gap or duplicate', async t => {
  const hub = await startHub(t)
  const { page } = await openPage(t, hub)
  const numbers = () => page.locator('#events .data').allTextContents().then(all => all.map(text => JSON.parse(text).n).reverse())
  await hub.publish({ name: 'counted', topic: 'count/here', data: { n: 1 } })
  await until('the first row', async () => (await numbers()).length === 1)
  await hub.crash()
  await hub.publish([2, 3].map(n => ({ name: 'counted', topic: 'count/here', data: { n } })))
  await until('the rows after the crash', async () => (await numbers()).length >= 3)
  // What would come a second time has come before this one.
  await hub.publish({ name: 'counted', topic: 'count/here', data: { n: 4 } })
  await until('the last row', async () => (await numbers()).includes(4))
  assert.deepEqual(await numbers(), [1, 2, 3, 4])
})

test('the live page fits a narrow screen', async t => {
  const hub = await startHub(t)
  const { page } = await openPage(t, hub, { viewport: { width: 360, height: 640 }, colorScheme: 'dark' })
  await hub.publish({ name: 'book.updated', topic: 'library/' + 'long'.repeat(20), data: { text: 'x'.repeat(400) } })
  await page.locator('#events > li').first().waitFor()
  const [wide, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth])
  assert.ok(wide <= inner, `the page is ${wide} px wide on a screen of ${inner} px`)
})
