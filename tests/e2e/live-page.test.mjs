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

test('the picture in the README is what the live page looks like', { skip: !process.env.UPDATE_SCREENSHOTS }, async t => {
  const hub = await startHub(t)
  const { page } = await openPage(t, hub, { colorScheme: 'light' })
  await hub.publish([
    { name: 'job.progress', topic: 'job/refresh', data: { done: 118, total: 120, failed: 1 } },
    { name: 'item.created', topic: 'item/A01-0002', data: { part_number: 'A01-0002', description: 'FILAMENT WINDING UNIT ASSY' } },
    { name: 'queue.changed', topic: 'queue', data: { action: 'added', id: 7, bookId: 42, status: 'downloading' } },
    { name: 'job.progress', topic: 'job/refresh', data: { done: 119, total: 120, failed: 1 } },
    { name: 'queue.changed', topic: 'queue', data: { action: 'removed', id: 7, bookId: 42 } },
    { name: 'book.updated', topic: 'book/42', data: { id: 42, status: 'imported', filePath: '/books/a.epub' } },
    { name: 'job.completed', topic: 'job/refresh', data: { done: 120, total: 120, failed: 1 } },
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
  assert.match(await page.locator('#answer').textContent(), /Kept at [0-9a-f]{8}-\d+/)
  await row.locator('summary').press('Enter') // the keyboard opens a row
  assert.equal(await row.locator('pre').textContent(), '{\n  "text": "Hello",\n  "big": 12345678901234567890\n}')
  assert.match(await row.locator('code').textContent(), /^[0-9a-f]{8}-\d+$/)
  assert.deepEqual(errors, [])
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
  assert.deepEqual(await numbers(), [1, 2, 3])
})

test('the live page fits a narrow screen', async t => {
  const hub = await startHub(t)
  const { page } = await openPage(t, hub, { viewport: { width: 360, height: 640 }, colorScheme: 'dark' })
  await hub.publish({ name: 'book.updated', topic: 'library/' + 'long'.repeat(20), data: { text: 'x'.repeat(400) } })
  await page.locator('#events > li').first().waitFor()
  const [wide, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth])
  assert.ok(wide <= inner, `the page is ${wide} px wide on a screen of ${inner} px`)
})
