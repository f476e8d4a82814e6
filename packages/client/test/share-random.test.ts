import { expect, test } from 'vitest'
import { wants } from '../src/filter.js'
import { Browser, mulberry, type Page } from './fakes/browser.js'
import { place } from './fakes/hub.js'

const TOPICS = ['book/1', 'book/2', 'author/1', 'queue'] as const
const WANTED = [undefined, ['book/*'], ['book/1', 'queue'], ['author/1'], ['queue', 'author/*', 'server']] as const
const RUNS = Number(process.env.SHARE_RUNS ?? 60)
const ways = { worker: [], leader: ['worker'], 'worker without locks': ['locks'], none: ['worker', 'locks'] } as const

for (const [way, without] of Object.entries(ways)) {
  test(`whoever opens, freezes and dies: each living page hears all of its topics, in order, once, and the newest state (${way})`, async () => {
    for (let seed = 1; seed <= RUNS; seed++) await play(seed, without)
  }, 120_000)
}

async function play(seed: number, without: readonly ('worker' | 'locks' | 'channel')[]): Promise<void> {
  const random = mulberry(seed)
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T
  const browser = new Browser({ random, without })
  browser.log.retained.add('state')
  const open = () => {
    const options = random() < 0.5 ? { cursor: place(browser.log.events.length) } : {}
    browser.open({ want: pick(WANTED), hidden: random() < 0.4, ...options })
  }
  const onOne = (act: (page: Page) => void) => () => {
    const page = pick(browser.pages)
    if (page) act(page)
  }
  const acts: (() => unknown)[] = [
    open,
    ...Array.from({ length: 8 }, () => () => browser.log.publish(pick(TOPICS))),
    () => browser.log.publish('server', undefined, 'state'),
    onOne(page => page.close()),
    onOne(page => page.crash()),
    onOne(page => page.freeze()),
    onOne(page => page.thaw()),
    onOne(page => page.see(random() < 0.5)),
    onOne(page => page.widen(pick(WANTED))),
    onOne(page => page.putAway()),
    onOne(page => page.bringBack()),
    () => {
      const holder = pick(browser.workers) ?? browser.locks.holderOf('/leader')
      if (holder && random() < 0.5) browser.crash(holder)
    },
    () => browser.scheduler.pass(random() * 1_500),
    () => browser.scheduler.pass(random() * 6_000),
    () => browser.scheduler.pass(random() * 200),
  ]
  open()
  for (let act = 0; act < 80; act++) {
    await pick(acts)()
    for (let steps = random() * 12; steps > 1; steps--) await browser.scheduler.step()
  }
  for (const page of browser.pages) {
    page.thaw()
    page.bringBack()
    page.see(true)
  }
  await browser.scheduler.pass(20_000)
  for (const page of browser.pages) check(page, browser, !without.includes('locks'), `seed ${seed}, ${page.name}`)
  // A worker that no lock tells of a death keeps its connection for three minutes.
  if (!without.includes('locks')) {
    const most = without.includes('worker') ? 1 : 2
    expect(browser.log.live.length, `seed ${seed}: connections`).toBeLessThanOrEqual(most)
  }
}

function check(page: Page, browser: Browser, hasLocks: boolean, which: string): void {
  expect(page.connection?.status, which).toBe('open')
  expect(page.gaps, which).toEqual([])
  // What it heard of a topic before that topic was covered is a gift.
  const must = browser.log.events.filter(
    (event, at) =>
      event.name !== 'state' &&
      page.covered.some(({ topics, from }) => at >= offset(from) && wants(topics, event.topic)),
  )
  // States may come twice, and not before the opening; the newest one is heard last. Where no lock tells of a death, the dead are waited for.
  const newest = browser.log.events.findLast(event => event.name === 'state')
  const heard = page.events.findLast(event => event.name === 'state')
  if (hasLocks && wants(page.topics, 'server')) expect(heard?.data, which).toBe(newest?.data)
  const events = page.events.filter(event => event.name !== 'state')
  const told = events.map(event => event.data)
  expect(
    events.map(({ cursor }) => offset(cursor)),
    which,
  ).toEqual([...new Set(events.map(({ cursor }) => offset(cursor)))].sort((a, b) => a - b))
  expect(
    must.filter(event => !told.includes(event.data)),
    which,
  ).toEqual([])
  expect(
    page.events.filter(event => !wants(page.topics, event.topic)),
    which,
  ).toEqual([])
  if (!page.widened) expect(told, which).toEqual(must.map(event => event.data))
  expect(
    page.errors.filter(error => error.code !== 'sharing'),
    which,
  ).toEqual([])
}

function offset(cursor: string | undefined): number {
  return Number(cursor?.split('-')[1])
}
