// The bookshelf in real browsers: what changes is seen at once, through cuts and crashes, without a reload and without a poll.
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { startBookshelf } from './harness/bookshelf.mjs'
import { startChromium } from './harness/chromium.mjs'
import { epub } from './harness/epub.mjs'
import { root } from './harness/hub.mjs'
import { startProxy } from './harness/proxy.mjs'
import { lives, watchRequests } from './harness/quiet.mjs'
import { until } from './harness/wait.mjs'

const options = { timeout: 600_000 }

/** A browser of its own in which `name` is logged in, on `path`. It notes what it asks the server for, and whether it was reloaded. */
async function open(browser, base, name, path = '/') {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
  const page = await context.newPage()
  const { asked, quiet } = watchRequests(context)
  await page.goto(base)
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password').fill(name)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByText('Live', { exact: true }).waitFor()
  if (path !== '/') await page.getByRole('navigation').getByRole('link', { name: path }).click()
  await page.evaluate(() => { window.sameDocument = true })
  return { page, asked, quiet, stayed: () => page.evaluate(() => window.sameDocument === true) }
}

const book = (page, title) => page.locator('[data-book]', { hasText: title })

test('a dropped book appears in two browsers at once, with its cover', options, async t => {
  const shelf = await startBookshelf(t)
  const browser = await startChromium(t)
  const [ann, ben] = await Promise.all([open(browser, shelf.url, 'ann'), open(browser, shelf.url, 'ben')])
  await shelf.put('new.epub', epub({ title: 'The Wall of Clocks', author: 'Ida Winter' }))
  for (const { page, stayed } of [ann, ben]) {
    const card = book(page, 'The Wall of Clocks')
    await card.waitFor()
    const cover = card.locator('img')
    await cover.waitFor()
    await until('the cover to be drawn', () => cover.evaluate(image => image.complete && image.naturalWidth > 0))
    assert.ok(await stayed())
  }
})

test('a book that is one user’s alone appears in no other’s browser, and in an admin’s', options, async t => {
  const shelf = await startBookshelf(t)
  const browser = await startChromium(t)
  const [ann, ben, admin] = await Promise.all(
    ['ann', 'ben', 'admin'].map(name => open(browser, shelf.url, name)),
  )
  const asAnn = await shelf.login('ann')
  await asAnn('POST', 'books', { title: 'A Secret Diary', author: 'Nobody', owned: true })
  await book(ann.page, 'A Secret Diary').waitFor()
  await book(admin.page, 'A Secret Diary').waitFor()
  // What everybody sees comes later in the log: when Ben has it, he would have had the diary.
  await asAnn('POST', 'books', { title: 'An Open Book', author: 'Everybody' })
  await book(ben.page, 'An Open Book').waitFor()
  assert.equal(await book(ben.page, 'A Secret Diary').count(), 0)
})

test('a cut of thirty seconds heals without a reload, and what changed meanwhile is there', options, async t => {
  const shelf = await startBookshelf(t)
  const proxy = await startProxy(t, shelf)
  const browser = await startChromium(t)
  const { page, stayed } = await open(browser, proxy.url, 'ann')
  const asBen = await shelf.login('ben')
  proxy.down()
  await page.getByText('Reconnecting…').waitFor()
  const titles = Array.from({ length: 20 }, (_, index) => `Written meanwhile ${index}`)
  for (const title of titles) await asBen('POST', 'books', { title, author: 'Ben' })
  await shelf.put('meanwhile.epub', epub({ title: 'Dropped meanwhile', author: 'Ben' }))
  // The length of the cut is what this is about: nothing is waited for.
  await new Promise(done => setTimeout(done, 30_000))
  proxy.up()
  for (const title of [...titles, 'Dropped meanwhile']) await page.getByText(title, { exact: true }).first().waitFor()
  await page.getByText('Live', { exact: true }).waitFor()
  assert.ok(await stayed())
})

test('kill -9 of the app with its hub heals without a reload, and nothing is lost', options, async t => {
  const shelf = await startBookshelf(t)
  const browser = await startChromium(t)
  const { page, stayed } = await open(browser, shelf.url, 'ann')
  const before = await shelf.login('ben')
  await before('POST', 'books', { title: 'Just before', author: 'Ben' })
  await shelf.crash()
  const after = await shelf.login('ben')
  await after('POST', 'books', { title: 'Just after', author: 'Ben' })
  await book(page, 'Just before').waitFor()
  await book(page, 'Just after').waitFor()
  await page.getByText('Live', { exact: true }).waitFor()
  assert.ok(await stayed())
})

test('a book goes from wanted through the queue onto the shelf on every page, and no page asks twice', options, async t => {
  const shelf = await startBookshelf(t, { args: ['--download-seconds', '1'] })
  const browser = await startChromium(t)
  const [wanted, queue, books] = await Promise.all([
    open(browser, shelf.url, 'ann', 'Wanted'),
    open(browser, shelf.url, 'ben', 'Queue'),
    open(browser, shelf.url, 'admin'),
  ])
  const asAnn = await shelf.login('ann')
  await asAnn('POST', 'books', { title: 'On its Way', author: 'Ida Winter' })
  await book(wanted.page, 'On its Way').waitFor()
  for (const opened of [wanted, queue, books]) await opened.quiet(opened.page)
  for (const opened of [wanted, queue, books]) opened.asked.length = 0

  await book(wanted.page, 'On its Way').getByRole('button', { name: 'Search' }).click()
  await book(wanted.page, 'On its Way').getByRole('button', { name: 'Grab' }).click()
  await queue.page.locator('[data-download]', { hasText: 'On its Way' }).waitFor()
  await books.page.locator('[data-book][data-status=imported]', { hasText: 'On its Way' }).waitFor()
  await book(wanted.page, 'On its Way').waitFor({ state: 'detached' })

  for (const opened of [wanted, queue, books]) await opened.quiet(opened.page)
  // What a page was told it need not ask for. A poll of five seconds would have been seen, and one of one second many times.
  for (const [name, { asked }] of Object.entries({ wanted, queue, books })) {
    const fetches = asked.filter(request => request.startsWith('GET /api/v1/') && !/events|cover/.test(request))
    assert.ok(fetches.length <= 12, `${name} asked ${fetches.length} times: ${fetches.join(', ')}`)
  }
})

test('while nothing changes no page asks for anything', options, async t => {
  const shelf = await startBookshelf(t)
  const browser = await startChromium(t)
  const { page, asked, quiet } = await open(browser, shelf.url, 'ann')
  for (const name of ['Authors', 'Series', 'Wanted', 'Queue', 'Books']) {
    await page.getByRole('navigation').getByRole('link', { name }).click()
    await page.getByRole('heading', { name, level: 1 }).waitFor()
  }
  await page.waitForLoadState('load')
  await quiet(page)
  asked.length = 0
  // As long as the slowest poll that it replaces (5 s), and half as long again, by the page's own clock.
  await lives(page, 7500)
  assert.deepEqual(asked, [])
})

test('the list of wanted books waits while a panel is open', options, async t => {
  const shelf = await startBookshelf(t)
  const browser = await startChromium(t)
  const { page } = await open(browser, shelf.url, 'ann', 'Wanted')
  const asBen = await shelf.login('ben')
  await asBen('POST', 'books', { title: 'First wanted', author: 'Ben' })
  await book(page, 'First wanted').getByRole('button', { name: 'Search' }).click()
  await page.getByText('The list waits while you choose.').waitFor()
  const titles = () => page.locator('.list [data-book]').count()
  // The number in the bar is not held: it tells that the event has come.
  const number = async () => Number(await page.locator('nav .count').first().textContent())
  await until('the bar to count what the list has', async () => await number() === await titles())
  const held = await titles()
  await asBen('POST', 'books', { title: 'Second wanted', author: 'Ben' })
  await until('the bar to count the second', async () => await number() === held + 1)
  // What else the same event does is drawn by then.
  await lives(page, 100)
  assert.equal(await book(page, 'Second wanted').count(), 0)
  assert.equal(await titles(), held)
  await book(page, 'First wanted').getByRole('button', { name: 'Search' }).click()
  await book(page, 'Second wanted').waitFor()
})

test('a list of books is imported as a job that shows its progress and its end', options, async t => {
  const shelf = await startBookshelf(t)
  const browser = await startChromium(t)
  const [{ page }, other] = await Promise.all([
    open(browser, shelf.url, 'ann', 'Import'), open(browser, shelf.url, 'ben'),
  ])
  const rows = Array.from({ length: 50 }, (_, index) => `Imported ${index},Cara List,`)
  await page.getByLabel('List of books').setInputFiles({
    name: 'books.csv', mimeType: 'text/csv', buffer: Buffer.from(['title,author,isbn', ...rows, ',,nothing'].join('\n')),
  })
  await page.locator('.import[data-state=completed]').waitFor()
  await page.locator('.import').getByText('50 added').waitFor()
  await book(other.page, 'Imported 49').waitFor()
})

test('a dropped file that is no book is told on every page', options, async t => {
  const shelf = await startBookshelf(t)
  const browser = await startChromium(t)
  const { page } = await open(browser, shelf.url, 'ann', 'Queue')
  await shelf.put('broken.epub', Buffer.from('this is no zip'))
  const notice = page.locator('.notices li')
  await notice.waitFor()
  assert.match(await notice.innerText(), /broken\.epub could not be read/)
  await notice.getByRole('button').click()
  await notice.waitFor({ state: 'detached' })
})

test('the refresh of all authors is seen also by who opens the page in the middle of it', options, async t => {
  // Long enough that a slow machine too opens the page in the middle.
  const shelf = await startBookshelf(t, { args: ['--look-up-seconds', '1.5'] })
  const browser = await startChromium(t)
  const [one, other] = await Promise.all([open(browser, shelf.url, 'ann', 'Authors'), open(browser, shelf.url, 'ben')])
  await one.page.getByRole('button', { name: 'Refresh all' }).click()
  await one.page.getByRole('progressbar').waitFor()
  await other.page.getByRole('navigation').getByRole('link', { name: 'Authors' }).click()
  await other.page.getByRole('progressbar').waitFor()
  await until('no second refresh to be possible', () => other.page.getByRole('button', { name: 'Refresh all' }).isDisabled())
  for (const { page } of [one, other]) {
    await page.getByRole('progressbar').waitFor({ state: 'detached' })
    await until('another refresh to be possible', () => page.getByRole('button', { name: 'Refresh all' }).isEnabled())
    await until('every author to have been looked up', async () => (await page.getByText('never').count()) === 0)
  }
})

test('on a phone each page is as wide as the screen, and every page can be reached', options, async t => {
  // The download is there for as long as the pages are looked at.
  const shelf = await startBookshelf(t, { args: ['--download-seconds', '3600'] })
  const { page } = await open(await startChromium(t), shelf.url, 'ann')
  await page.setViewportSize({ width: 360, height: 740 })
  const ask = await shelf.login('ann')
  const wanted = (await ask('GET', 'books')).books.find(({ status }) => status === 'wanted')
  await ask('POST', `books/${wanted.id}/grab`)
  for (const name of ['Books', 'Authors', 'Series', 'Wanted', 'Queue', 'Import']) {
    const link = page.getByRole('navigation').getByRole('link', { name })
    await until(`${name} to be in sight`, async () => {
      const { x, width } = await link.boundingBox()
      return x >= 0 && x + width <= 360
    })
    await link.click()
    await page.getByRole('heading', { level: 1 }).waitFor()
    if (name === 'Queue') await page.locator('[data-download]').first().waitFor()
    const beyond = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    await until(`${name} to fit`, async () => await beyond() === 0)
    if (process.env.LOOK) await page.screenshot({ path: `${process.env.LOOK}/phone-${name}.png` })
  }
})

test('not one timer fetches: there is no setInterval in the pages', async () => {
  const folder = join(root, 'examples/bookshelf/web/src')
  const files = (await readdir(folder, { recursive: true })).filter(name => /\.tsx?$/.test(name))
  assert.ok(files.length > 10)
  for (const name of files) {
    const text = await readFile(join(folder, name), 'utf8')
    assert.doesNotMatch(text, /setInterval|refetchInterval/, name)
  }
})

test('the picture in the docs is what the bookshelf looks like', { ...options, skip: !process.env.UPDATE_SCREENSHOTS }, async t => {
  const shelf = await startBookshelf(t, { args: ['--download-seconds', '20'] })
  const browser = await startChromium(t)
  const { page } = await open(browser, shelf.url, 'ann')
  const colours = [[159, 18, 57], [30, 64, 175], [21, 94, 117], [133, 77, 14]]
  const dropped = ['The Wall of Clocks', 'An Inland Sea', 'The Glass Orchard', 'All the Small Hours']
  for (const [index, title] of dropped.entries()) {
    await shelf.put(`${index}.epub`, epub({ title, author: 'Ida Winter', colour: colours[index] }))
    await book(page, title).locator('img').waitFor()
  }
  const asAnn = await shelf.login('ann')
  for (const { id } of (await asAnn('GET', 'wanted')).books.slice(0, 3)) await asAnn('POST', `books/${id}/grab`)
  await page.locator('[data-status=downloading]').first().waitFor()
  await page.screenshot({ path: join(root, 'docs/images/bookshelf-books.png'), animations: 'disabled' })
  await page.getByRole('navigation').getByRole('link', { name: 'Queue' }).click()
  await until('something to be half way', () => page.locator('progress').evaluateAll(bars => bars.some(bar => bar.value > 0.4 && bar.value < 1)))
  await page.screenshot({ path: join(root, 'docs/images/bookshelf-queue.png'), animations: 'disabled' })
})

before(async () => {
  await readdir(join(root, 'examples/bookshelf/web/dist')).catch(() => {
    throw new Error('the pages are not built: npm run build -w examples/bookshelf/web')
  })
})
