// One connection for all pages of a browser, in the best way there is: by a worker, by a page that leads, or each by itself.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { startHub } from './harness/hub.mjs'
import { startChromium } from './harness/chromium.mjs'
import { allHeard, allOpen, connection, holds, numbers, openPages, startSite, startWithPreferences } from './harness/share.mjs'
import { until } from './harness/wait.mjs'

test('the death of the worker is noticed, and a leader goes on without loss', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const browser = await startChromium(t)
  const pages = await openPages(await browser.newContext(), site, 5)
  const { published, publish } = numbers(hub)
  await publish(3)
  await allHeard(pages, published)
  const session = await browser.newBrowserCDPSession()
  const { targetInfos } = await session.send('Target.getTargets', { filter: [{ type: 'shared_worker' }] })
  assert.equal(targetInfos.length, 1)
  const burst = publish(20)
  const before = Date.now()
  await session.send('Target.closeTarget', { targetId: targetInfos[0].targetId })
  await Promise.all(pages.map(page => until('the page to leave the worker', async () => (await connection(page)).sharing !== 'worker')))
  t.diagnostic(`left the worker ${Date.now() - before} ms after its death`)
  await burst
  await publish(3)
  await allOpen(pages)
  await allHeard(pages, published)
  await holds(hub, 1)
  for (const page of pages) {
    const errors = await page.evaluate(() => window.errors)
    assert.equal(errors.length, 1)
    // By itself, or from another page that was told of it before.
    assert.match(errors[0], /^sharing: the shared worker (has died|is left)/)
  }
})

test('a page that wants its own connection has one, and so has each where nothing can be shared', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const browser = await startChromium(t)
  const context = await browser.newContext()
  const pages = [
    ...await openPages(context, site, 1, '?share=none'),
    ...await openPages(context, site, 2, '?without=SharedWorker&withoutLocks'),
  ]
  await holds(hub, 3)
  const { published, publish } = numbers(hub)
  await publish(10)
  await allHeard(pages, published)
  for (const page of pages) {
    assert.equal((await connection(page)).sharing, 'none')
    assert.deepEqual(await page.evaluate(() => window.errors), [])
  }
})

for (const [what, options] of Object.entries({
  'a policy that forbids workers': { headers: { 'content-security-policy': "worker-src 'none'" } },
  'a script of the worker that is not found': { missing: '/worker.js' },
})) {
  test(`${what} makes one of the pages the leader, and is reported`, async t => {
    const hub = await startHub(t)
    const site = await startSite(t, hub, options)
    const browser = await startChromium(t)
    const context = await browser.newContext()
    // The first alone, so that it is the one that finds it out.
    const pages = [...await openPages(context, site, 1), ...await openPages(context, site, 2)]
    await until('one of them to lead', async () => {
      const all = (await Promise.all(pages.map(connection))).map(({ sharing }) => sharing)
      return all.sort().join() === 'follower,follower,leader'
    })
    await holds(hub, 1)
    const { published, publish } = numbers(hub)
    await publish(5)
    await allHeard(pages, published)
    const errors = await pages[0].evaluate(() => window.errors)
    assert.equal(errors.length, 1)
    assert.match(errors[0], /^sharing: the shared worker could not be started/)
    // The others find a leader, and try no worker.
    for (const page of pages.slice(1)) assert.deepEqual(await page.evaluate(() => window.errors), [])
  })
}

test('a page of an opaque origin has its own connection, and says why', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const browser = await startChromium(t)
  const page = await browser.newPage()
  await page.goto(`${site}/opaque`)
  const frame = await until('the frame', () => page.frames()[1])
  await allOpen([frame])
  assert.equal((await connection(frame)).sharing, 'none')
  const errors = await frame.evaluate(() => window.errors)
  assert.ok(errors.length >= 1 && errors.every(error => error.startsWith('sharing: ')), errors.join('\n'))
  const { published, publish } = numbers(hub)
  await publish(5)
  await allHeard([frame], published)
})

test('pages whose storage is disabled have a connection, and say what they lack', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const { context, close } = await startWithPreferences({ profile: { default_content_setting_values: { cookies: 2 } } })
  t.after(close)
  const pages = await openPages(context, site, 2)
  assert.equal(await pages[0].evaluate(() => { try { return String(localStorage) } catch (error) { return error.name } }), 'SecurityError')
  const { published, publish } = numbers(hub)
  await publish(5)
  await allHeard(pages, published)
  for (const page of pages) {
    t.diagnostic(`${(await connection(page)).sharing}: ${await page.evaluate(() => window.errors)}`)
    assert.equal(await page.evaluate(() => window.errors.every(error => error.startsWith('sharing: '))), true)
  }
})
