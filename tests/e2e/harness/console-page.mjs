// The console in Chromium, as a test looks at it.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { serveConsole } from '../../../packages/console/dev/serve.mjs'
import { startChromium } from './chromium.mjs'
import { root } from './hub.mjs'

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
export async function openConsole(t, hub, { hash = '', live = true, ...options } = {}) {
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

export const isLive = page => page.locator('.badge[data-is=open]').waitFor()
export const row = (page, text) => page.locator('.event-row[role=option]', { hasText: text }).first()
export const nav = (page, name) => page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name })
export const event = (n, more = {}) => ({ name: 'book.updated', topic: `book/${n}`, data: { id: n, title: `Volume ${n}` }, ...more })
