// One connection for all pages of a browser: pages that are put away, stand still, want other topics and log out.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { startHub } from './harness/hub.mjs'
import { startChromium } from './harness/chromium.mjs'
import { allHeard, connection, follows, held, holds, leads, numbers, openPages, startSite, startWithPreferences, told } from './harness/share.mjs'
import { until } from './harness/wait.mjs'

/** Two pages without a worker. The first is alone until it leads: of two that come together any may be the quicker. */
async function openOneByOne(context, site) {
  const open = () => openPages(context, site, 1, '?without=SharedWorker')
  return [...await open(), ...await open()]
}

test('a page that leads goes into the back/forward cache, another leads on, and back again it has missed nothing', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const { context, close } = await startWithPreferences({}, ['--disable-back-forward-cache'])
  t.after(close)
  const pages = await openOneByOne(context, site)
  const { published, publish } = numbers(hub)
  await publish(3)
  await allHeard(pages, published)
  const [first, second] = pages
  await leads(first)
  await first.evaluate(() => addEventListener('pageshow', event => { window.cached = event.persisted }))
  await first.goto(`${site}/elsewhere`)
  await leads(second)
  await publish(10)
  await allHeard([second], published)
  // A page out of the cache is not loaded again.
  await first.goBack({ waitUntil: 'commit' })
  await until('the page out of the cache', () => first.evaluate(() => window.cached))
  await publish(3)
  await allHeard(pages, published)
  await follows(first)
  await holds(hub, 1)
})

test('a leader that hangs is deposed by a page that is seen', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const { context, close } = await startWithPreferences({}, [])
  t.after(close)
  const pages = await openOneByOne(context, site)
  const { published, publish } = numbers(hub)
  await publish(3)
  await allHeard(pages, published)
  const [hung, other] = pages
  await leads(hung)
  const hanging = hung.evaluate(() => {
    const request = new XMLHttpRequest()
    request.open('GET', '/held', false)
    request.send()
  })
  await until('the page to stand still', () => held.length > 0)
  await leads(other)
  await publish(10)
  await allHeard([other], published)
  for (const release of held.splice(0)) release()
  await hanging
  await follows(hung)
  await publish(3)
  await allHeard(pages, published)
})

test('a tab that wants other topics hears them from the place on that it is told, and the others miss nothing meanwhile', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const browser = await startChromium(t)
  const context = await browser.newContext()
  const [first] = await openPages(context, site, 1, '?topic=count/0')
  const { published, publish } = numbers(hub)
  let publishing = true
  const burst = (async () => { while (publishing) await publish(3) })()
  const [second] = await openPages(context, site, 1, '?topic=count/1')
  const { cursor } = await connection(second)
  publishing = false
  await burst
  // What was on its way may be before the second's place; this is behind it.
  await publish(3)
  const of = rest => published.filter(number => number % 3 === rest)
  await until('the first to hear all', async () => (await told(first)).length >= of(0).length)
  assert.deepEqual(await told(first), of(0))
  // The log of a new hub begins with the first number.
  const place = Number(cursor.split('-')[1])
  await until('the second to hear the last', async () => (await told(second)).at(-1) === of(1).at(-1))
  const heard = await told(second)
  assert.deepEqual(heard, of(1).slice(-heard.length))
  assert.deepEqual(of(1).filter(number => number > place && !heard.includes(number)), [])
  await holds(hub, 1)
})

test('whoever logs out logs out all pages, in whatever way they share', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const browser = await startChromium(t)
  const context = await browser.newContext()
  const pages = [
    ...await openPages(context, site, 2),
    ...await openPages(context, site, 2, '?without=SharedWorker'),
    ...await openPages(context, site, 1, '?without=SharedWorker&withoutLocks'),
  ]
  await holds(hub, 3)
  await pages[1].evaluate(() => window.client.logout())
  for (const page of pages) await until('the page to be closed', async () => (await connection(page)).status === 'closed')
  await holds(hub, 0)
})
