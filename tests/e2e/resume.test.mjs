// Each client is cut off by the network and by a crash of the program while events are posted all the time.
import { test } from 'node:test'
import { EventSource } from 'eventsource'
import { startHub } from './harness/hub.mjs'
import { startProxy } from './harness/proxy.mjs'
import { startCurl } from './harness/curl.mjs'
import { startChromium } from './harness/chromium.mjs'
import { Counter, Ledger, cutTwice } from './harness/count.mjs'
import { until } from './harness/wait.mjs'

const path = '/v1/events?topic=count/*'

/** A publisher that ends with the test, also with one that failed. */
function startCounter(t, hub) {
  const counter = new Counter(hub)
  t.after(() => counter.abandon())
  return counter
}

test('npm eventsource resumes after cuts and a crash without gap or duplicate', async t => {
  const hub = await startHub(t)
  const proxy = await startProxy(t, hub)
  const ledger = new Ledger()
  const source = new EventSource(proxy.url + path)
  t.after(() => source.close())
  source.addEventListener('counted', event => ledger.note(JSON.parse(event.data).n))
  await cutTwice({ hub, proxy, ledger, counter: startCounter(t, hub) })
})

test('curl resumes after cuts and a crash without gap or duplicate', async t => {
  const hub = await startHub(t)
  const proxy = await startProxy(t, hub)
  const ledger = new Ledger()
  startCurl(t, proxy.url + path, ({ event, data }) => { if (event === 'counted') ledger.note(JSON.parse(data).n) })
  await cutTwice({ hub, proxy, ledger, counter: startCounter(t, hub) })
})

test("Chromium's EventSource resumes after cuts and a crash without gap or duplicate", async t => {
  const hub = await startHub(t)
  const proxy = await startProxy(t, hub)
  const browser = await startChromium(t)
  const page = await browser.newPage()
  await page.goto(`${proxy.url}/health`) // any page of this origin
  await page.evaluate(path => {
    window.numbers = []
    const source = new EventSource(path)
    source.addEventListener('counted', event => window.numbers.push(JSON.parse(event.data).n))
  }, path)
  const ledger = new Ledger(() => page.evaluate(() => window.numbers))
  await cutTwice({ hub, proxy, ledger, counter: startCounter(t, hub) })
})

test('a client that had seen nothing before the crash still misses nothing', async t => {
  const hub = await startHub(t)
  const ledger = new Ledger()
  const source = new EventSource(`${hub.url}${path}`)
  t.after(() => source.close())
  source.addEventListener('counted', event => ledger.note(JSON.parse(event.data).n))
  let isOpen = false
  source.addEventListener('tidings.open', () => { isOpen = true })
  await until('the stream to open', () => isOpen)
  await hub.crash()
  await hub.publish([1, 2, 3].map(n => ({ name: 'counted', topic: 'count/here', data: { n } })))
  await ledger.reaches(3)
  ledger.assertUnbroken()
  if (ledger.numbers[0] !== 1) throw new Error(`the first event seen was ${ledger.numbers[0]}`)
})
