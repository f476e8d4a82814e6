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
  browser.on('context', context => context.setDefaultTimeout(PATIENCE))
  t.after(() => browser.close())
  return browser
}
