// The console's views, in Chromium, on a running hub. `npm run build -w packages/console` comes first.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { event, isLive, nav, openConsole, row } from './harness/console-page.mjs'
import { startDemo } from './harness/console.mjs'
import { root, startHub } from './harness/hub.mjs'
import { ask, claim } from './harness/jobs.mjs'
import { until } from './harness/wait.mjs'

test('what is published on the form appears in the tail, opens to its data, and is explained', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub, { hash: '#/publish' })
  await page.getByLabel('Event', { exact: true }).fill('shelf.changed')
  await page.getByLabel('Topic', { exact: true }).fill('shelf/anna')
  await page.getByLabel('Data', { exact: true }).fill('{"added": [4')
  await page.getByText('Line 1, column 13: the text ends too early').waitFor()
  assert.equal(await page.getByRole('button', { name: 'Publish', exact: true }).isDisabled(), true)
  await page.getByLabel('Data', { exact: true }).fill('{"added": [42]}')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  const cursor = await page.locator('.results code').innerText()
  assert.match(cursor, /^[0-9a-f]{8}-1$/)
  await nav(page, 'Tail').click()
  await row(page, 'shelf.changed').click()
  const detail = page.getByRole('complementary', { name: 'Event shelf.changed' })
  assert.deepEqual(JSON.parse(await detail.locator('pre.json').innerText()), { added: [42] })
  await detail.getByText(cursor).waitFor()
  await detail.getByRole('link', { name: 'Explain' }).click()
  await page.locator('.reader .tag.good').waitFor()
  assert.equal(await page.locator('.chain .stopped').count(), 0)
})

test('a refusal stands at the field that it is about', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub, { hash: '#/publish' })
  await page.getByLabel('Topic', { exact: true }).fill('a//b')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.locator('.field.wrong', { hasText: 'Topic' }).waitFor()
  assert.equal(await page.getByLabel('Topic', { exact: true }).getAttribute('aria-invalid'), 'true')
})

test('the tail filters by topic, name and text, says so in its address, and has the log\'s newest from the beginning', async t => {
  const hub = await startHub(t)
  await hub.publish([1, 2, 3].map(n => event(n)))
  const { page, url } = await openConsole(t, hub, { hash: '#/tail?topic=book/*&text=volume%202' })
  await row(page, 'Volume 2').waitFor()
  assert.equal(await page.locator('.event-row[role=option]').count(), 1)
  await page.getByLabel('Filter by text in the data').fill('')
  await row(page, 'Volume 3').waitFor()
  await hub.publish([event(4), { name: 'queue.changed', topic: 'queue', data: {} }])
  await row(page, 'Volume 4').waitFor()
  assert.equal(await page.locator('.event-row[role=option]').count(), 4)
  await page.waitForURL(({ href }) => href === `${url}#/tail?topic=book/*`)
  await page.getByLabel('Filter by event name').fill('queue')
  await page.getByText('No event fits the filter').waitFor()
})

test('a burst of 10,000 events is drawn only where it is in sight, and none is lost, paused or not', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub, { hash: '#/tail' })
  await page.evaluate(() => {
    window.longest = 0
    new PerformanceObserver(list => { for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration) })
      .observe({ entryTypes: ['longtask'] })
  })
  const longest = () => page.evaluate(() => window.longest)
  // The measure measures.
  await page.evaluate(() => setTimeout(() => { for (const end = performance.now() + 150; performance.now() < end;); }))
  await until('a long task to be seen', async () => await longest() >= 120)
  await page.evaluate(() => { window.longest = 0 })
  const burst = async from => {
    for (let n = from; n < from + 10_000; n += 500) await hub.publish(Array.from({ length: 500 }, (_, index) => event(n + index)))
  }
  await burst(0)
  await row(page, 'Volume 9999').waitFor()
  await page.keyboard.press('Space')
  await page.getByRole('button', { name: 'Resume' }).waitFor()
  await burst(10_000)
  await page.getByRole('button', { name: '10,000 new' }).waitFor()
  assert.equal(await row(page, 'Volume 9999').isVisible(), true)
  await page.keyboard.press('Space')
  await row(page, 'Volume 19999').waitFor()
  await page.locator('.tally', { hasText: '20,000 shown' }).waitFor()
  assert.ok(await page.locator('.event-row[role=option]').count() < 60, 'only what is in sight is drawn')
  t.diagnostic(`the longest task took ${await longest()} ms`)
})

test('the list stands still for whoever has scrolled away or reads an event, and a button leads back', async t => {
  const hub = await startHub(t)
  await hub.publish(Array.from({ length: 90 }, (_, n) => event(n)))
  const { page } = await openConsole(t, hub, { hash: '#/tail' })
  await row(page, 'Volume 89').waitFor()
  await page.locator('.event-list').evaluate(list => list.scrollTo({ top: 1400 }))
  // Far from what is drawn at the top: the page has seen the scrolling when this is gone.
  await row(page, 'Volume 89').waitFor({ state: 'detached' })
  await hub.publish(event(100))
  await page.getByRole('button', { name: '1 new' }).click()
  await row(page, 'Volume 100').click()
  await hub.publish(event(101))
  await page.getByRole('button', { name: '1 new' }).waitFor()
  await page.keyboard.press('Escape')
  await row(page, 'Volume 101').waitFor()
})

test('connections are told with what they asked for, and end when they are disconnected', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub, { hash: '#/connections' })
  const ended = fetch(`${hub.url}/v1/events?topic=library/lib1`).then(async response => {
    let text = ''
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) text += piece
    return text
  })
  let ends = 0
  page.on('request', request => { if (request.method() === 'DELETE') ends++ })
  const line = page.getByRole('row').filter({ hasText: 'library/lib1' })
  await line.waitFor()
  await line.getByRole('button', { name: /Disconnect/ }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Keep it' }).click()
  assert.equal(await line.count(), 1)
  await line.getByRole('button', { name: /Disconnect/ }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Disconnect' }).click()
  assert.match(await ended, /"code":4004/)
  await line.waitFor({ state: 'detached' })
  await page.getByText('was ended').waitFor()
  assert.equal(ends, 1, 'none was ended that was to be kept')
})

test('topics are told with their counts, and lead to the tail', async t => {
  const hub = await startHub(t)
  await hub.publish([...[1, 2, 3].map(() => event(7)), { name: 'queue.changed', topic: 'queue', data: {} }])
  const { page } = await openConsole(t, hub, { hash: '#/topics' })
  const line = page.getByRole('row').filter({ hasText: 'book/7' })
  await line.getByRole('cell', { name: '3', exact: true }).waitFor()
  await page.getByLabel('Filter topics').fill('book/*')
  await page.getByRole('row').filter({ hasText: 'queue' }).waitFor({ state: 'detached' })
  await line.getByRole('link', { name: 'book/7' }).click()
  await row(page, 'Volume 7').waitFor()
  await page.waitForURL(/#\/tail\?topic=book\/7$/)
})

test('a job is made with a file, its bar moves, and it is canceled', async t => {
  const hub = await startHub(t, { env: { TIDINGS_JOBS__CANCEL_GRACE: '10m' } })
  const { page } = await openConsole(t, hub, { hash: '#/jobs' })
  await page.getByRole('button', { name: 'New job' }).first().click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('File').setInputFiles({ name: 'books.csv', mimeType: 'text/csv', buffer: Buffer.from('Title\nEmma\n') })
  await dialog.getByLabel('Input').fill('{"shelf":"anna"}')
  await dialog.getByRole('button', { name: 'Make the job' }).click()
  const worker = await claim(hub, 'import', { profile: '', key: '' })
  await worker.progress(3, 4, { message: 'Emma' })
  const line = page.getByRole('row').filter({ hasText: worker.job.id })
  await line.getByText('3 of 4').waitFor()
  await line.locator('[role=progressbar][aria-valuenow="75"]').waitFor()
  await line.getByRole('button', { name: /Cancel/ }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel the job' }).click()
  await line.locator('.tag', { hasText: 'canceling' }).waitFor()
  assert.equal((await worker.heartbeat('50s')).cancel, true)
  assert.equal((await ask(`${hub.url}/v1/jobs/${worker.job.id}/canceled`, { token: worker.lease, body: {} })).status, 200)
  await line.locator('.tag', { hasText: 'canceled' }).waitFor()
})

test('the end of a job shows its result or its error', async t => {
  const hub = await startHub(t)
  await ask(`${hub.url}/v1/jobs`, { body: { kind: 'import', id: 'good' } })
  await ask(`${hub.url}/v1/jobs`, { body: { kind: 'scan', id: 'bad' } })
  const { page } = await openConsole(t, hub, { hash: '#/jobs?job=good' })
  const good = await claim(hub, 'import', { profile: '', key: '' })
  await good.hand([{ title: 'Emma' }])
  await good.complete({ imported: 1 })
  await page.locator('.detail', { hasText: '"imported": 1' }).waitFor()
  await page.locator('.detail', { hasText: '"title": "Emma"' }).waitFor()
  const bad = await claim(hub, 'scan', { profile: '', key: '' })
  await ask(`${hub.url}/v1/jobs/bad/fail`, { token: bad.lease, body: { error: { code: 'unreadable', message: 'no such folder' } } })
  await page.getByRole('row').filter({ hasText: 'bad' }).getByText('no such folder').waitFor()
})

test('explain marks the question at which an event stopped', async t => {
  const hub = await startHub(t)
  await hub.publish(event(1, { audience: ['library/lib1/read'] }))
  const { page } = await openConsole(t, hub, { hash: '#/explain' })
  await page.locator('.recent button', { hasText: 'book/1' }).click()
  await page.locator('.reader .tag.good').waitFor()
  await page.getByLabel('somebody with these grants').check()
  await page.getByLabel('Grants', { exact: true }).fill('role/viewer')
  await page.getByRole('button', { name: 'Explain' }).click()
  await page.locator('.reader .tag.bad').waitFor()
  await page.locator('.chain .stopped', { hasText: 'it needs library/lib1/read, they hold' }).waitFor()
  await page.getByLabel('Event, by its cursor').fill('nonsense')
  await page.getByRole('button', { name: 'Explain' }).click()
  await page.getByRole('alert').filter({ hasText: 'not a cursor' }).waitFor()
})

test('the log is paged back to its beginning', async t => {
  const hub = await startHub(t)
  await hub.publish(Array.from({ length: 150 }, (_, n) => event(n)))
  const { page } = await openConsole(t, hub, { hash: '#/log' })
  await row(page, 'Volume 149').waitFor()
  await page.locator('.kept', { hasText: '150' }).waitFor()
  await page.getByRole('button', { name: 'Older' }).click()
  await row(page, 'Volume 49').waitFor()
  assert.equal(await page.getByRole('button', { name: 'Older' }).isDisabled(), true)
  await page.getByRole('button', { name: 'Newest' }).click()
  await row(page, 'Volume 149').waitFor()
  await page.getByLabel('Filter by topic').fill('book/7')
  await row(page, 'Volume 7').waitFor()
  assert.equal(await page.locator('.event-row[role=option]').count(), 1)
})

test('the overview counts what happens, with values under the pointer', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub)
  await hub.publish(event(1))
  await page.locator('.newest', { hasText: 'book/1' }).waitFor()
  await page.locator('.tile', { hasText: 'Connections' }).getByText('1', { exact: true }).waitFor()
  const plot = page.locator('.plot').first()
  // Where figures are late a notice says so above the charts, and they move away under the pointer.
  let x = 400
  await until('the time under the pointer', async () => {
    await plot.hover({ position: { x: x = 860 - x, y: 60 } })
    return plot.locator('.when', { hasText: /\d\d:\d\d:\d\d/ }).isVisible()
  })
})

test('everything is reached by keyboard', async t => {
  const hub = await startHub(t)
  await hub.publish([1, 2, 3].map(n => event(n)))
  const { page } = await openConsole(t, hub)
  await page.evaluate(() => {
    window.pressed = []
    addEventListener('keydown', event => window.pressed.push(event.timeStamp), true)
  })
  const jump = async (key, name) => {
    for (let passed = Infinity; passed >= 1_200;) {
      await page.keyboard.press('g')
      await page.keyboard.press(key)
      // The second key may come too late for the first one, where the machine stood still between the two.
      const [first, second] = (await page.evaluate(() => window.pressed)).slice(-2)
      passed = second - first
    }
    await page.getByRole('heading', { level: 1, name }).waitFor()
  }
  for (const [key, name] of [['t', 'Tail'], ['c', 'Connections'], ['s', 'Topics'], ['j', 'Jobs'], ['p', 'Publish'], ['e', 'Explain'], ['l', 'Log'], ['o', 'Overview']]) {
    await jump(key, name)
  }
  await page.keyboard.press('?')
  await page.getByRole('dialog', { name: 'Keys' }).waitFor()
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  await jump('t', 'Tail')
  await row(page, 'Volume 3').waitFor()
  await page.keyboard.press('/')
  await page.keyboard.type('book gt')
  assert.equal(await page.getByLabel('Filter by topic').inputValue(), 'book gt')
  await page.getByLabel('Filter by topic').fill('')
  await row(page, 'Volume 3').waitFor()
  await page.keyboard.press('Escape')
  await page.keyboard.press('j')
  await page.keyboard.press('j')
  await page.locator('.detail', { hasText: 'Volume 2' }).waitFor()
  await page.keyboard.press('k')
  await page.locator('.detail', { hasText: 'Volume 3' }).waitFor()
  await page.keyboard.press('Escape')
  await page.locator('.detail').waitFor({ state: 'detached' })
})

test('on a narrow screen nothing is wider than the screen, in the dark too', async t => {
  const hub = await startHub(t)
  await hub.publish([1, 2, 3].map(n => event(n)))
  await ask(`${hub.url}/v1/jobs`, { body: { kind: 'import', id: 'a-rather-long-id-of-a-job-that-nobody-would-type' } })
  const { page } = await openConsole(t, hub, { viewport: { width: 360, height: 740 }, colorScheme: 'dark' })
  // What has to be there before it is measured.
  const whole = {
    Overview: page.locator('.newest', { hasText: 'book/3' }),
    Tail: row(page, 'Volume 3'),
    Connections: page.getByRole('row').filter({ hasText: '**' }),
    Topics: page.getByRole('row').filter({ hasText: 'book/3' }),
    Jobs: page.getByRole('row').filter({ hasText: 'a-rather-long-id' }),
    Publish: page.getByRole('button', { name: 'Publish', exact: true }),
    Explain: page.locator('.recent button', { hasText: 'book/3' }),
    Log: row(page, 'Volume 3'),
  }
  for (const [view, content] of Object.entries(whole)) {
    await nav(page, view).click()
    await page.getByRole('heading', { level: 1, name: view }).waitFor()
    await content.waitFor()
    const over = () => page.evaluate(() => Math.max(0, ...['html', '#main', '.table-card'].map(name => {
      const element = document.querySelector(name)
      return element ? element.scrollWidth - element.clientWidth : 0
    })))
    await until(`${view} to fit`, async () => await over() === 0)
  }
  const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  assert.equal(back, 'rgb(18, 20, 22)')
  await page.getByRole('button', { name: /change$/ }).click()
  await page.getByRole('button', { name: /^Light/ }).waitFor()
  await until('the page to be light', () => page.evaluate(() => getComputedStyle(document.body).backgroundColor === 'rgb(246, 246, 244)'))
})

test('the pictures in docs/console.md are what the console looks like', { skip: !process.env.UPDATE_SCREENSHOTS, timeout: 900_000 }, async t => {
  const { hub, key, cursor, refused, stall } = await startDemo(t)
  const { page } = await openConsole(t, hub, { live: false, colorScheme: 'light' })
  await page.getByLabel('Operator key').fill(key)
  await page.getByRole('button', { name: 'Log in' }).click()
  await isLive(page)
  await mkdir(join(root, 'docs/images'), { recursive: true })
  const shoot = name => page.screenshot({ path: join(root, `docs/images/console-${name}.png`) })
  // Long enough for the charts to be full.
  const seconds = Number(process.env.SCREENSHOT_SECONDS ?? 300)
  const see = async (name, hash) => {
    await page.evaluate(to => { location.hash = to }, hash)
    await page.getByRole('heading', { level: 1, name }).waitFor()
    await page.mouse.move(640, 30)
  }
  await see('Topics', '#/topics')
  await page.waitForTimeout(seconds * 1000)
  await page.getByRole('row').nth(12).waitFor()
  await shoot('topics')
  await stall()
  await see('Overview', '#/overview')
  await page.locator('.plot').first().waitFor()
  await page.waitForTimeout(1500)
  const box = await page.locator('.plot').first().boundingBox()
  await page.mouse.move(box.x + box.width * 0.7, box.y + 60)
  await shoot('overview')
  await page.emulateMedia({ colorScheme: 'dark' })
  await shoot('dark')
  await page.emulateMedia({ colorScheme: 'light' })
  await see('Tail', '#/tail?topic=library/**')
  await row(page, 'book.updated').click()
  await page.waitForTimeout(1500)
  await shoot('tail')
  await page.keyboard.press('Escape')
  await see('Connections', '#/connections?sort=lag')
  await page.getByRole('row').nth(12).waitFor()
  await shoot('connections')
  await see('Jobs', '#/jobs?job=goodreads-export')
  await page.locator('.detail pre').first().waitFor()
  await shoot('jobs')
  await see('Publish', '#/publish?profile=books&name=book.updated')
  await page.getByRole('button', { name: 'Fill in an example' }).click()
  await page.getByLabel('Data', { exact: true }).fill(JSON.stringify({ id: 42, library: 'lib1', status: 'imported', title: 'Middlemarch', pages: 880 }, null, 2))
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.locator('.results code').waitFor()
  await page.getByLabel('Data', { exact: true }).fill(JSON.stringify({ id: 42, library: 'lib1', status: 'lent', title: 'Middlemarch', pages: 880 }, null, 2))
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.locator('.field.wrong').waitFor()
  await shoot('publish')
  await see('Explain', `#/explain?cursor=${cursor}&principal=${refused}`)
  await page.locator('.chain .stopped').first().waitFor()
  await shoot('explain')
  await see('Log', '#/log')
  await row(page, 'book.updated').waitFor()
  await shoot('log')
  await page.setViewportSize({ width: 390, height: 844 })
  await see('Tail', '#/tail')
  await row(page, 'book.updated').waitFor()
  await page.waitForTimeout(1500)
  await shoot('narrow')
})
