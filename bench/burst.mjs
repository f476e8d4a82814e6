// What a burst does to a page: many events published at once, over the SharedWorker and React, to a list of the newest 200. By hand, as all
// benchmarks: see bench/README.md.
//
//   npm run build -w @tidings/client -w @tidings/react && TIDINGS_BINARY=target/release/tidings node bench/burst.mjs
import { startChromium } from '../tests/e2e/harness/chromium.mjs'
import { startHub } from '../tests/e2e/harness/hub.mjs'
import { startPage } from '../tests/e2e/harness/page.mjs'

const count = Number(process.env.EVENTS ?? 10_000)
const size = Number(process.env.SIZE ?? 200)
const share = process.env.SHARE ?? 'auto'

const cleanups = []
const t = { after: cleanup => cleanups.unshift(cleanup) }

try {
  const hub = await startHub(t)
  const url = await startPage(t, 'burst-app', hub)
  const browser = await startChromium(t)
  const page = await browser.newPage()
  await page.goto(`${url}?share=${share}`)
  await page.locator('main[data-status=open]').waitFor({ state: 'attached' })
  await page.evaluate(() => {
    Object.assign(window, { slow: [], frame: 0, renders: 0, batches: [] })
    new PerformanceObserver(list => window.slow.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' })
    let before = performance.now()
    const look = now => {
      window.frame = Math.max(window.frame, now - before)
      before = now
      requestAnimationFrame(look)
    }
    requestAnimationFrame(look)
  })
  const events = Array.from({ length: count }, (_, n) => ({ name: 'book.put', topic: `book/${n % 500}`, data: { id: n, title: 'x'.repeat(size) } }))
  const begun = performance.now()
  // As many at once as one request may hold.
  for (let at = 0; at < count; at += 1_000) await hub.publish(events.slice(at, at + 1_000))
  const published = performance.now() - begun
  await page.locator(`main[data-count="${count}"]`).waitFor({ state: 'attached' })
  const shown = performance.now() - begun
  const { slow, frame, renders, batches } = await page.evaluate(() => ({ slow, frame, renders, batches }))
  console.log(`${count} events of ${size} bytes, share ${share}: published in ${published.toFixed()} ms, shown after ${shown.toFixed()} ms`)
  console.log(`  tasks over 50 ms: ${slow.length}${slow.length ? `, the longest ${Math.max(...slow)} ms` : ''}; longest frame ${frame.toFixed()} ms`)
  console.log(`  renderings ${renders}, batches ${batches.length}, the largest ${Math.max(...batches)} events`)
} finally {
  for (const cleanup of cleanups) await cleanup()
}
