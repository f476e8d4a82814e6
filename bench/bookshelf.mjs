// From the commit in an app to the changed pixels in another browser, while 1,000 other events a second pass by; and what a burst does to
// the frames of a page. By hand, as all benchmarks: see bench/README.md.
//
//   cargo build --release -p tidings-example-bookshelf && BOOKSHELF_BINARY=target/release/bookshelf node bench/bookshelf.mjs
import { startBookshelf } from '../tests/e2e/harness/bookshelf.mjs'
import { startChromium } from '../tests/e2e/harness/chromium.mjs'

const changes = Number(process.env.CHANGES ?? 200)
const rate = Number(process.env.RATE ?? 1000)

const cleanups = []
const t = { after: cleanup => cleanups.unshift(cleanup) }

try {
  const shelf = await startBookshelf(t)
  const browser = await startChromium(t)
  const admin = await shelf.login('admin')
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage()
  await page.goto(shelf.url)
  await page.getByLabel('Name').fill('ben')
  await page.getByLabel('Password').fill('ben')
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByText('Live', { exact: true }).waitFor()
  const { books } = await admin('GET', 'books')
  const { id } = books[0]

  // When a title is on the screen: the frame that drew it is over when the task after it runs.
  await page.evaluate(id => {
    window.seen = new Map()
    window.slow = []
    const card = document.querySelector(`[data-book="${id}"]`)
    new MutationObserver(() => {
      const title = card.querySelector('strong').textContent
      if (window.seen.has(title)) return
      window.seen.set(title, undefined)
      requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel()
        port1.onmessage = () => window.seen.set(title, performance.timeOrigin + performance.now())
        port2.postMessage(undefined)
      })
    }).observe(card, { subtree: true, childList: true, characterData: true })
    new PerformanceObserver(list => window.slow.push(...list.getEntries().map(({ duration }) => duration)))
      .observe({ type: 'longtask' })
  }, id)

  await admin('POST', 'demo/storm', { rate, seconds: Math.ceil((changes * 60) / 1000) + 5 })
  const committed = new Map()
  for (let change = 0; change < changes; change++) {
    // The book sorts first whatever its number, so that it stays on the screen.
    const title = ` ${change}`
    await admin('PATCH', `books/${id}`, { title: `0000 bench${title}` })
    const book = await admin('GET', `books/${id}`)
    committed.set(book.title, book.updatedAt)
    await new Promise(done => setTimeout(done, 50))
  }
  await page.waitForFunction(title => window.seen.get(title), [...committed.keys()].at(-1))
  const [seen, slow] = await page.evaluate(() => [[...window.seen], window.slow])
  const times = seen
    .filter(([title, at]) => at !== null && at !== undefined && committed.has(title))
    .map(([title, at]) => at - committed.get(title))
    .sort((a, b) => a - b)
  const quantile = part => times[Math.min(times.length - 1, Math.floor(part * times.length))].toFixed(1)
  console.log(`commit to pixels, ${times.length} of ${changes} changes, ${rate} other events/s passing by:`)
  console.log(`  p50 ${quantile(0.5)} ms, p95 ${quantile(0.95)} ms, p99 ${quantile(0.99)} ms, max ${quantile(1)} ms`)
  console.log(`  tasks of the page over 50 ms: ${slow.length}${slow.length ? `, the longest ${Math.max(...slow)} ms` : ''}`)
} finally {
  for (const cleanup of cleanups) await cleanup()
}
