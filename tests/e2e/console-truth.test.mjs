// What the console says of a hub is so, in Chromium: of one that was restarted, has lost its log, took a key back or has more than one page
// shows, and of what is published again. `npm run build -w packages/console` comes first.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { event, isLive, nav, openConsole, row } from './harness/console-page.mjs'
import { run, startHub } from './harness/hub.mjs'
import { ask } from './harness/jobs.mjs'
import { until } from './harness/wait.mjs'

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
  // The hub may not count it yet, or still count one that the console has left.
  await until('the stream of the console to be ended', async () => {
    const { streams } = await fetch(`${hub.url}/v1/streams`, { headers }).then(response => response.json())
    for (const { id } of streams) await fetch(`${hub.url}/v1/streams/${id}`, { method: 'DELETE', headers })
    return page.locator('.badge[data-is=closed]').isVisible()
  })
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
