// The console, in Chromium, on a running hub. `npm run build -w packages/console` comes first.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { serveConsole } from '../../packages/console/dev/serve.mjs'
import { startChromium } from './harness/chromium.mjs'
import { root, run, startHub } from './harness/hub.mjs'
import { ask, claim } from './harness/jobs.mjs'
import { until } from './harness/wait.mjs'
import { startDemo } from './harness/console.mjs'

/** Where the console of a hub is: in the hub, or before it, where the one that was built last is not in it. */
async function consoleOf(t, hub) {
  const built = await readFile(join(root, 'packages/console/dist/index.html'), 'utf8').catch(() => undefined)
  const embedded = await fetch(`${hub.url}/console/`).then(response => response.text())
  if (built === undefined || embedded === built) return `${hub.url}/console/`
  const server = await serveConsole(() => hub.url)
  t.after(() => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${server.address().port}/console/`
}

/** A page of the console. What it complains about fails the test. */
async function openConsole(t, hub, { hash = '', live = true, ...options } = {}) {
  const url = await consoleOf(t, hub)
  const browser = await startChromium(t)
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce', ...options })
  const errors = []
  page.on('pageerror', error => errors.push(error.message))
  page.on('console', message => { if (/content security policy/i.test(message.text())) errors.push(message.text()) })
  t.after(() => assert.deepEqual(errors, []))
  await page.goto(url + hash)
  if (live) await isLive(page)
  return { page, url }
}

const isLive = page => page.locator('.badge[data-is=open]').waitFor()
const row = (page, text) => page.locator('.event-row[role=option]', { hasText: text }).first()
const nav = (page, name) => page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name })
const event = (n, more = {}) => ({ name: 'book.updated', topic: `book/${n}`, data: { id: n, title: `Volume ${n}` }, ...more })

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

test('outside of development mode an operator\'s key is asked for, kept for the tab, and forgotten on logging out', async t => {
  const reader = 'tdg_the-key-of-reader-and-of-nobody-else'
  const hub = await startHub(t, { config: `[[auth.sources]]\nkind = "api-key"\nkeys = [{ name = "reader", value = "${reader}", grants = ["book/*"] }]` })
  const made = await run('key', 'create', '--name', 'console', '--operator', '--publish', '--grant', '**', '--data', hub.data)
  const key = /tdg_\S+/.exec(made.out)?.[0]
  assert.ok(key, made.out)
  const { page } = await openConsole(t, hub, { live: false })
  await page.getByText('tidings key create --name console --operator').waitFor()
  const log = async text => {
    await page.getByLabel('Operator key').fill(text)
    await page.getByRole('button', { name: 'Log in' }).click()
  }
  await log('tdg_nonsense')
  await page.getByText('does not take this key').waitFor()
  await log(reader)
  await page.getByText('the key of reader, who is no operator').waitFor()
  await log(key)
  await isLive(page)
  await hub.publish(event(1, { audience: ['book/1/read'] }), { headers: { 'x-api-key': key } })
  await page.locator('.newest', { hasText: 'book/1' }).waitFor()
  await page.reload()
  await isLive(page)
  await page.getByRole('button', { name: 'Log out' }).click()
  await page.getByLabel('Operator key').waitFor()
  await page.reload()
  await page.getByLabel('Operator key').waitFor()
  await log(key)
  await isLive(page)
  const deleted = await run('key', 'delete', key.split('_')[1], '--data', hub.data)
  assert.equal(deleted.code, 0, deleted.out)
  await page.getByText('does not take this key any more').waitFor()
})

test('the console comes back by itself after the hub was killed, and has what happened meanwhile', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub, { hash: '#/tail' })
  await hub.kill()
  await page.locator('.badge[data-is=waiting]', { hasText: /again in \d+ s/ }).waitFor()
  await hub.start()
  await hub.publish(event(5))
  await isLive(page)
  await row(page, 'Volume 5').waitFor()
  await nav(page, 'Connections').click()
  await page.getByRole('row').filter({ hasText: '**' }).waitFor()
})

test('an event that is published again goes to those who could see it, from the log and from the tail, and not to everybody', async t => {
  const hub = await startHub(t)
  await hub.publish(event(1, { audience: ['user/anna', 'user/ben, junior'], key: 'volume/1', scope: { shelf: 7 } }))
  const { page, url } = await openConsole(t, hub)
  for (const [view, audience] of [['log', ['user/anna', 'user/ben, junior']], ['tail', ['user/anna', 'user/ben, junior']]]) {
    await page.goto(`${url}#/${view}`)
    await row(page, 'Volume 1').click()
    await page.locator('.detail').getByRole('link', { name: 'Publish again' }).click()
    await page.getByRole('heading', { level: 1, name: 'Publish' }).waitFor()
    assert.equal(await page.getByLabel('Topic', { exact: true }).inputValue(), 'book/1')
    await page.getByRole('button', { name: 'Publish', exact: true }).click()
    await page.locator('.results code').waitFor()
    const { body } = await ask(`${hub.url}/v1/log/events?limit=1`)
    const [{ key, scope, ...again }] = body.events
    assert.deepEqual([again.audience.toSorted(), key, scope], [audience, 'volume/1', { shelf: 7 }])
  }
  assert.equal((await ask(`${hub.url}/v1/log/events`)).body.events.length, 3)
})

test('who may see a signal that is published again has to be said, as the log has none', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub, { hash: '#/tail' })
  await hub.publish(event(1, { audience: ['user/anna'], signal: true }))
  await row(page, 'Volume 1').click()
  await page.locator('.detail').getByRole('link', { name: 'Publish again' }).click()
  await page.getByText('Who could see it is not known here').waitFor()
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  assert.equal(await page.getByLabel('Audience', { exact: true }).evaluate(input => input.matches(':focus:invalid')), true)
  await page.getByLabel('Audience', { exact: true }).fill('user/anna')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.locator('.results code').waitFor()
  const { body } = await ask(`${hub.url}/v1/log/events`)
  assert.deepEqual(body.events.map(({ audience }) => audience), [['user/anna']])
})

test('numbers of 2^53 and above are published, shown and published again as they were written', async t => {
  const hub = await startHub(t)
  const { page, url } = await openConsole(t, hub, { hash: '#/publish' })
  const kept = () => fetch(`${hub.url}/v1/log/events`).then(response => response.text())
  await page.getByLabel('Data', { exact: true }).fill('{"id":12345678901234567890,"price":1.10}')
  await page.getByRole('button', { name: 'Tidy up' }).click()
  await page.getByText('"id":12345678901234567890,"price":1.10').waitFor()
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.locator('.results code').waitFor()
  assert.match(await kept(), /12345678901234567890/)
  for (const view of ['log', 'tail']) {
    await page.goto(`${url}#/${view}`)
    // The tail's own connection gives rounded ones, and says so.
    if (view === 'log') await row(page, '{"id":12345678901234567890,').click()
    else await row(page, '≈').click()
    await page.locator('.detail', { hasText: '12345678901234567890' }).waitFor()
    await page.locator('.detail').getByRole('link', { name: 'Publish again' }).click()
    await page.getByRole('button', { name: 'Publish', exact: true }).click()
    await page.locator('.results code').waitFor()
  }
  assert.equal((await kept()).match(/12345678901234567890/g).length, 3)
  // What the tail begins with is the log's.
  await page.goto(`${url}#/tail`)
  await page.reload()
  await row(page, '12345678901234567890').waitFor()
})

test('a log that was lost is told of in the tail, with what is in the new one, before what comes', async t => {
  const hub = await startHub(t)
  await hub.publish(event(1))
  const { page } = await openConsole(t, hub, { hash: '#/tail?text=volume' })
  await row(page, 'Volume 1').waitFor()
  await hub.kill()
  await page.locator('.badge[data-is=waiting]').waitFor()
  await rm(hub.data, { recursive: true })
  await hub.start()
  await hub.publish([2, 3, 4, 5, 6].map(n => event(n)))
  await isLive(page)
  await page.locator('.event-row.gap', { hasText: "the log's history was lost" }).waitFor()
  await hub.publish(event(7))
  await row(page, 'Volume 7').waitFor()
  const seen = await page.locator('.event-row[role=option]').allInnerTexts()
  const order = seen.map(text => /Volume (\d)/.exec(text)?.[1] ?? 'gap')
  assert.deepEqual(order, ['7', '6', '5', '4', '3', '2', 'gap', '1'])
  await page.locator('.event-row.gap').click()
  await page.locator('.detail', { hasText: 'other-epoch' }).waitFor()
})

test('more jobs than one page are said to be more, are paged through, and are found by a link', async t => {
  const hub = await startHub(t)
  for (let n = 0; n < 130; n++) await ask(`${hub.url}/v1/jobs`, { body: { kind: n === 5 ? 'scan' : 'import', id: `job-${n}` } })
  const { page, url } = await openConsole(t, hub, { hash: '#/jobs?job=job-3' })
  await page.locator('.detail', { hasText: 'job-3' }).waitFor()
  await page.locator('.tally', { hasText: '100 newest' }).waitFor()
  await page.getByRole('button', { name: 'Close' }).click()
  await page.getByLabel('Filter jobs').fill('scan')
  await page.locator('.tally', { hasText: '0 of the 100 newest' }).waitFor()
  await page.getByRole('button', { name: 'Look further back' }).click()
  await page.locator('.tally', { hasText: '1 of 130 jobs' }).waitFor()
  await page.getByLabel('Filter jobs').fill('')
  await page.locator('.tally', { hasText: '130 jobs' }).waitFor()
  assert.equal(await page.getByRole('button', { name: 'Older' }).count(), 0)
  await page.goto(`${url}#/jobs?job=nobody-made-this`)
  await page.getByText("nobody-made-this can't be shown").waitFor()
})

test('the overview shows the newest events whatever the tail is asked for, paused or not', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub, { hash: '#/tail?name=nothing' })
  await page.keyboard.press('Space')
  await page.getByRole('button', { name: 'Resume' }).waitFor()
  await hub.publish(event(1))
  await nav(page, 'Overview').click()
  await page.locator('.newest', { hasText: 'book/1' }).waitFor()
})

test('while the tail is paused what fits its filter is counted, and nothing else', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub, { hash: '#/tail?name=queue' })
  await page.keyboard.press('Space')
  await page.getByRole('button', { name: 'Resume' }).waitFor()
  await hub.publish([1, 2, 3].map(n => event(n)))
  await hub.publish({ name: 'queue.changed', topic: 'queue', data: {} })
  // The overview says when all have come, and leaves the pause as it is.
  await nav(page, 'Overview').click()
  await page.locator('.newest', { hasText: 'queue.changed' }).waitFor()
  await page.goBack()
  await page.getByRole('button', { name: '1 new', exact: true }).waitFor()
})

test('a connection that was ended says why, and a key that is gone leads to the login with what the hub says', async t => {
  const hub = await startHub(t, { config: '' })
  const made = await run('key', 'create', '--name', 'console', '--operator', '--grant', '**', '--data', hub.data)
  const key = /tdg_\S+/.exec(made.out)?.[0]
  const { page } = await openConsole(t, hub, { live: false, hash: '#/tail' })
  await page.getByLabel('Operator key').fill(key)
  await page.getByRole('button', { name: 'Log in' }).click()
  await isLive(page)
  const headers = { authorization: `Bearer ${key}` }
  const [{ id }] = await until('the stream of the console', async () => {
    const { streams } = await fetch(`${hub.url}/v1/streams`, { headers }).then(response => response.json())
    return streams.length && streams
  })
  await fetch(`${hub.url}/v1/streams/${id}`, { method: 'DELETE', headers })
  await page.locator('.badge[data-is=closed]', { hasText: /Ended: an operator ended the connection/ }).waitFor()
  await page.locator('.badge').getByRole('button', { name: 'connect' }).click()
  await isLive(page)
  const deleted = await run('key', 'delete', key.split('_')[1], '--data', hub.data)
  assert.equal(deleted.code, 0, deleted.out)
  await page.getByText(/does not take this key any more: \S+/).waitFor()
})

test('what is explained is what the form says: nobody is chosen in silence, and a step back shows the earlier question', async t => {
  const hub = await startHub(t)
  await hub.publish([1, 2].map(n => event(n, { audience: ['library/lib1/read'] })))
  const { page } = await openConsole(t, hub, { hash: '#/explain' })
  await page.getByLabel('a principal who is connected').check()
  await page.locator('.recent button', { hasText: 'book/1' }).click()
  assert.equal(await page.getByLabel('Principal', { exact: true }).evaluate(input => input.matches(':focus:invalid')), true)
  assert.equal(await page.evaluate(() => location.hash), '#/explain', 'nothing is asked')
  assert.equal(await page.locator('.reader').count(), 0)
  await page.getByLabel('this key').check()
  await page.locator('.recent button', { hasText: 'book/1' }).click()
  await page.locator('.reader .tag.good').waitFor()
  await page.getByLabel('somebody with these grants').check()
  await page.getByLabel('Grants', { exact: true }).fill('role/viewer')
  await page.getByRole('button', { name: 'Explain' }).click()
  await page.locator('.reader .tag.bad').waitFor()
  await page.goBack()
  await page.locator('.reader .tag.good').waitFor()
  assert.equal(await page.getByLabel('this key').isChecked(), true)
  await page.goForward()
  await page.locator('.reader .tag.bad').waitFor()
  assert.equal(await page.getByLabel('Grants', { exact: true }).inputValue(), 'role/viewer')
})

test('the newest of the log beside an explanation follow what happens, and on a narrow screen the form is first while nothing was asked', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub, { hash: '#/explain', viewport: { width: 360, height: 740 } })
  await hub.publish(event(1))
  await page.locator('.recent button', { hasText: 'book/1' }).waitFor()
  const isAbove = (one, other) => page.evaluate(([a, b]) => document.querySelector(a).getBoundingClientRect().top < document.querySelector(b).getBoundingClientRect().top, [one, other])
  assert.equal(await isAbove('.explain form', '.answer'), true)
  await page.locator('.recent button', { hasText: 'book/1' }).click()
  await page.locator('.reader').first().waitFor()
  assert.equal(await isAbove('.answer', '.explain form'), true)
})

test('the line of the transport that is used lies over those that add nothing', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub)
  const chart = page.locator('.chart', { hasText: 'Connections' })
  await chart.getByText('SSE').waitFor()
  assert.equal(await chart.locator('path.line').last().getAttribute('class'), 'line c1')
})

test('figures of a hub that is gone are told to be old, and what is wrong is said once', async t => {
  const hub = await startHub(t)
  const { page } = await openConsole(t, hub)
  await page.locator('.tile').first().waitFor()
  await hub.kill()
  await page.locator('.view.old', { hasText: /As of \d\d:\d\d:\d\d/ }).waitFor()
  const failed = ['/v1/log', '/v1/log/events'].map(path => page.waitForEvent('requestfailed', request => new URL(request.url()).pathname === path))
  await nav(page, 'Log').click()
  await Promise.all(failed)
  await page.getByRole('alert').waitFor()
  // Both are known to the page when the list is not waited for any more, and the other is asked for once more.
  await page.getByText('Loading the log').waitFor({ state: 'detached' })
  await page.waitForEvent('requestfailed', request => new URL(request.url()).pathname === '/v1/log')
  assert.equal(await page.getByRole('alert').count(), 1)
  await hub.start()
  await isLive(page)
  await nav(page, 'Overview').click()
  await page.locator('.view:not(.old) .tile').first().waitFor()
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
