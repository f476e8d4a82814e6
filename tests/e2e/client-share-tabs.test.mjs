// One connection for many tabs of a browser, while those that hold it are closed and crash.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { startHub } from './harness/hub.mjs'
import { startChromium } from './harness/chromium.mjs'
import { allHeard, allOpen, connection, holds, numbers, openPages, startSite } from './harness/share.mjs'
import { until } from './harness/wait.mjs'

const TABS = 20

const modes = {
  worker: { query: '', shared: ['worker'] },
  leader: { query: '?without=SharedWorker', shared: ['leader', 'follower'] },
}

for (const [mode, { query, shared }] of Object.entries(modes)) {
  test(`${TABS} tabs hold one connection, and hear every event once while holders are closed and crash (${mode})`, async t => {
    const hub = await startHub(t)
    const site = await startSite(t, hub)
    const browser = await startChromium(t)
    const context = await browser.newContext()
    let pages = await openPages(context, site, TABS, query)
    for (const page of pages) assert.ok(shared.includes((await connection(page)).sharing))
    await holds(hub, 1)
    const { published, publish } = numbers(hub)
    await publish(5)
    await allHeard(pages, published)

    // The first tab that crashes is the one whose process has the worker, as far as Chromium lets one know.
    for (const death of ['crash', 'close', 'crash', 'close']) {
      const before = Date.now()
      const burst = publish(20)
      const dead = await holder(pages)
      await kill(dead, death)
      await burst
      await publish(3)
      pages = await living(pages)
      await allOpen(pages)
      await allHeard(pages, published)
      const { sharing } = await connection(pages[0])
      t.diagnostic(`${mode}, ${death}: all heard ${Date.now() - before} ms later, ${pages.length} pages, ${sharing}`)
      await holds(hub, 1)
    }
    const [late] = await openPages(context, site, 1, query)
    // A tab that comes later shares it too.
    await holds(hub, 1)
    await late.close()
    assert.ok(pages.length >= 2, `only ${pages.length} pages are left`)
    for (const page of pages) assert.deepEqual(await page.evaluate(() => window.errors.filter(error => !error.startsWith('sharing'))), [])
  })
}

/** The page that leads, or the first one where a worker holds the connection. While one takes over there is none. */
function holder(pages) {
  return until('somebody to hold the connection', async () => {
    const all = (await Promise.all(pages.map(connection))).map(({ sharing }) => sharing)
    return all.every(sharing => sharing === 'worker') ? pages[0] : pages[all.indexOf('leader')]
  })
}

/** Closes a tab, or ends its process. */
async function kill(page, how) {
  if (how === 'close') return page.close()
  const crashed = page.waitForEvent('crash')
  const session = await page.context().newCDPSession(page)
  session.send('Page.crash').catch(() => {})
  await crashed
}

/** Those that are left: one process has several tabs of a site, and takes them with it. */
async function living(pages) {
  const alive = await Promise.all(pages.map(async page => {
    if (page.isClosed()) return false
    const answer = page.evaluate(() => 1).then(() => true, () => false)
    return Promise.race([answer, page.crashed])
  }))
  return pages.filter((_, at) => alive[at])
}
