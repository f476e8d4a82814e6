// Chromium as Debian packages it, driven over its debugging pipe.
import { chromium } from 'playwright-core'

const path = process.env.CHROMIUM ?? '/usr/bin/chromium'

export async function startChromium(t) {
  const browser = await chromium.launch({
    executablePath: path,
    headless: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  })
  t.after(() => browser.close())
  return browser
}
