// Chromium as Debian packages it, driven over its debugging pipe.
import { chromium } from 'playwright-core'

const path = process.env.CHROMIUM ?? '/usr/bin/chromium'

// Only there to end what hangs, in ms: no test is to fail because a machine is slow.
const PATIENCE = 60_000

export async function startChromium(t) {
  const browser = await chromium.launch({
    executablePath: path,
    headless: true,
    timeout: 2 * PATIENCE,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  })
  // No page is to fail because a machine is slow.
  browser.on('context', context => context.setDefaultTimeout(60_000))
  t.after(() => browser.close())
  const newContext = browser.newContext.bind(browser)
  // Each page is opened in a context of its own, by this.
  browser.newContext = async options => {
    const context = await newContext(options)
    context.setDefaultTimeout(PATIENCE)
    return context
  }
  return browser
}
