import { describe, expect, test } from 'vitest'
import { TidingsError } from '../src/errors.js'
import { settle } from '../src/settings.js'
import { shareName } from '../src/share/name.js'
import type { ClientOptions } from '../src/types.js'
import { Browser, type Page } from './fakes/browser.js'
import { place } from './fakes/hub.js'

const WAYS = [
  { sharing: 'worker', without: [] },
  { sharing: 'leader', without: ['worker'] },
] as const

const SECOND = 1_000
const statuses = (pages: readonly Page[]) => pages.map(page => page.connection?.status)
const sharings = (pages: readonly Page[]) => pages.map(page => page.connection?.sharing)

describe.each(WAYS)('shared ($sharing)', ({ without }) => {
  test('pages hold one connection, and each hears what it wants', async () => {
    const browser = new Browser({ without })
    const [books, authors, all] = [
      browser.open({ want: ['book/*'] }),
      browser.open({ want: ['author/*'] }),
      browser.open(),
    ]
    await browser.scheduler.pass(SECOND)
    for (const topic of ['book/1', 'author/1', 'book/2']) browser.log.publish(topic)
    await browser.scheduler.pass(SECOND)
    expect(browser.log.live).toHaveLength(1)
    expect(books.told).toEqual([1, 3])
    expect(authors.told).toEqual([2])
    expect(all.told).toEqual([1, 2, 3])
    expect(statuses([books, authors, all])).toEqual(['open', 'open', 'open'])
    expect([books, authors, all].flatMap(page => page.errors)).toEqual([])
  })

  test('a page that comes later is given the connection, the place and the newest events of its topics at once', async () => {
    const browser = new Browser({ without })
    browser.open()
    await browser.scheduler.pass(SECOND)
    for (const topic of ['book/1', 'book/1', 'author/1']) browser.log.publish(topic)
    await browser.scheduler.pass(SECOND)
    const late = browser.open({ want: ['book/*'] })
    await browser.scheduler.pass(0)
    expect(late.present.map(event => event.data)).toEqual([2])
    expect(late.told).toEqual([])
    expect(late.connection).toMatchObject({ status: 'open', transport: 'sse', cursor: place(3) })
    expect(browser.log.opened).toBe(1)
  })

  test('a page that comes later hears the states that the opening brought, the newest of each', async () => {
    const browser = new Browser({ without })
    const first = browser.open()
    await browser.scheduler.pass(SECOND)
    browser.log.publish('book/1', 'no state')
    await browser.scheduler.pass(SECOND)
    const state = (topic: string, data: string, cursor?: string) => {
      const event = { name: 'status', topic, data, cursor, time: 7 }
      browser.log.live[0]?.sink.batch({ from: undefined, to: cursor, frames: [{ type: 'event', event }] })
    }
    state('book/1', 'lent')
    state('book/2', 'here')
    state('book/2', 'lent too', place(2))
    await browser.scheduler.pass(SECOND)
    const late = browser.open()
    await browser.scheduler.pass(SECOND)
    expect(first.told).toEqual(['no state', 'lent', 'here', 'lent too'])
    expect(late.told).toEqual(['lent', 'lent too'])
    expect(late.events.map(({ cursor }) => cursor)).toEqual([undefined, undefined])
  })

  test('a page that comes later hears the states, however many events have come since', async () => {
    const browser = new Browser({ without })
    browser.log.retained.add('server.state')
    browser.log.publish('server', 'read-only', 'server.state')
    const first = browser.open()
    await browser.scheduler.pass(SECOND)
    for (let number = 0; number < 250; number++) browser.log.publish(`book/${number}`)
    await browser.scheduler.pass(5 * SECOND)
    const late = browser.open()
    await browser.scheduler.pass(SECOND)
    expect(first.told).toHaveLength(251)
    expect(late.told).toEqual(['read-only'])
    expect(late.events.map(({ cursor }) => cursor)).toEqual([undefined])
    expect(late.gaps).toEqual([])
    expect(browser.log.opened).toBe(1)
  })

  test('a page that comes later hears a state that was told for the first time since the opening', async () => {
    const browser = new Browser({ without })
    browser.log.retained.add('server.state')
    const first = browser.open()
    await browser.scheduler.pass(SECOND)
    browser.log.publish('server', 'read-only', 'server.state')
    browser.log.publish('book/1', 'no state')
    await browser.scheduler.pass(SECOND)
    const late = [browser.open(), browser.open({ want: ['server'] }), browser.open({ want: ['book/*'] })]
    await browser.scheduler.pass(SECOND)
    expect(late.map(({ told }) => told)).toEqual([['read-only'], ['read-only'], []])
    expect(first.told).toEqual(['read-only', 'no state'])
    expect(browser.log.opened).toBe(1)
  })

  test('the hub is asked once whether a name is that of states', async () => {
    const browser = new Browser({ without })
    browser.log.retained.add('server.state')
    browser.open()
    await browser.scheduler.pass(SECOND)
    const told = []
    for (let number = 1; number <= 3; number++) {
      browser.log.publish('server', `state ${number}`, 'server.state')
      browser.log.publish('book/1', `book ${number}`)
      await browser.scheduler.pass(SECOND)
      const late = browser.open()
      await browser.scheduler.pass(SECOND)
      told.push(late.told)
    }
    expect(told).toEqual([['state 1'], ['state 2'], ['state 3']])
    expect(browser.log.polls).toBe(1)
  })

  test('the hub is asked for states that were too many to keep', async () => {
    const browser = new Browser({ without })
    browser.log.retained.add('book.state')
    for (let number = 0; number < 1_010; number++) browser.log.publish(`book/${number}`, number, 'book.state')
    browser.open()
    await browser.scheduler.pass(SECOND)
    const late = browser.open({ want: ['book/0', 'book/1009'] })
    await browser.scheduler.pass(SECOND)
    expect(late.told).toEqual([1_009, 0])
  })

  test('states are heard by connection where polls are not served', async () => {
    const browser = new Browser({ without })
    const paths = { sse: 'live' }
    browser.log.retained.add('server.state')
    browser.open({ paths })
    await browser.scheduler.pass(SECOND)
    browser.log.publish('server', 'read-only', 'server.state')
    await browser.scheduler.pass(SECOND)
    const late = browser.open({ paths })
    await browser.scheduler.pass(5 * SECOND)
    expect(late.told).toEqual(['read-only'])
    expect(browser.log.polls).toBe(0)
    expect(browser.log.live).toHaveLength(1)
  })

  test('a page is told why the states could not be asked for', async () => {
    const browser = new Browser({ without })
    browser.open()
    await browser.scheduler.pass(SECOND)
    browser.log.publish('book/1')
    await browser.scheduler.pass(SECOND)
    browser.log.pollStatus = 403
    const late = browser.open()
    await browser.scheduler.pass(SECOND)
    expect(late.errors.map(error => error.code)).toEqual(['forbidden'])
    expect(statuses([late])).toEqual(['open'])
  })

  test('a page that is further on than the others asks for the newest states, hears no older one after it, and hears signals', async () => {
    const browser = new Browser({ without })
    browser.log.retained.add('server.state')
    browser.log.publish('server', 'read-only', 'server.state')
    browser.open()
    await browser.scheduler.pass(SECOND)
    const [link] = browser.log.live
    if (link) link.status = 'waiting'
    browser.log.publish('server', 'normal', 'server.state')
    const ahead = browser.open({ cursor: place(2) })
    await browser.scheduler.pass(SECOND)
    expect(ahead.told.at(-1)).toBe('normal')
    const heard = ahead.told.length
    const tell = (name: string, data: string, time: number) => {
      const event = { name, topic: 'server', data, cursor: undefined, time }
      link?.sink.batch({ from: place(1), to: place(1), frames: [{ type: 'event', event }] })
    }
    tell('server.state', 'read-only', -1)
    tell('typing', 'ann', browser.scheduler.now)
    await browser.scheduler.pass(SECOND)
    expect(ahead.told.slice(heard)).toEqual(['ann'])
  })

  test('a page that brings a place of its own reads from there by itself, up to where the others are', async () => {
    const browser = new Browser({ without })
    for (let number = 0; number < 10; number++) browser.log.publish(`book/${number % 2}`)
    browser.open()
    await browser.scheduler.pass(SECOND)
    const late = browser.open({ cursor: place(2), want: ['book/0'] })
    await browser.scheduler.pass(SECOND)
    browser.log.publish('book/0')
    await browser.scheduler.pass(SECOND)
    expect(late.told).toEqual([3, 5, 7, 9, 11])
    expect(browser.log.polls).toBeGreaterThan(0)
    expect(late.gaps).toEqual([])
  })

  test('a page whose question for what it missed is held asks again, and is not deaf for ever', async () => {
    const browser = new Browser({ without })
    for (let number = 0; number < 10; number++) browser.log.publish('book/1')
    browser.log.pollsHeld = 1
    browser.open()
    await browser.scheduler.pass(SECOND)
    const late = browser.open({ cursor: place(8), silence: 20 * SECOND })
    await browser.scheduler.pass(19 * SECOND)
    expect(late.told).toEqual([])
    await browser.scheduler.pass(3 * SECOND)
    expect(late.told).toEqual([9, 10])
    expect(late.gaps).toEqual([])
  })

  test('what a page missed and cannot be read any more is a gap, never silence', async () => {
    const browser = new Browser({ without })
    for (let number = 0; number < 10; number++) browser.log.publish('book/1')
    browser.log.pollStatus = 403
    browser.open()
    await browser.scheduler.pass(SECOND)
    const late = browser.open({ cursor: place(2) })
    await browser.scheduler.pass(SECOND)
    browser.log.publish('book/1')
    await browser.scheduler.pass(SECOND)
    expect(late.gaps).toEqual([{ reason: 'unknown', asked: place(2), resumed: place(10), atMost: undefined }])
    expect(late.told).toEqual([11])
    expect(late.errors.map(error => error.code)).toEqual(['forbidden'])
  })

  test('a gap is told to all that stand before it, and to none that has read on', async () => {
    const browser = new Browser({ without })
    for (let number = 0; number < 9; number++) browser.log.publish('book/1')
    const pages = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    const tell = (from: number, resumed: number) => {
      const gap = { reason: 'trimmed', asked: place(from), resumed: place(resumed), atMost: undefined } as const
      browser.log.live[0]?.sink.batch({ from: place(from), to: place(resumed), frames: [{ type: 'gap', gap }] })
      return gap
    }
    const gap = tell(9, 12)
    // As a leader that began behind them is told.
    tell(0, 4)
    await browser.scheduler.pass(SECOND)
    for (const page of pages) {
      expect(page.gaps).toEqual([gap])
      expect(page.cursor).toBe(place(12))
    }
  })

  test('a page that wants more is connecting until more comes, and loses nothing of what it wanted before', async () => {
    const browser = new Browser({ without })
    const page = browser.open({ want: ['book/*'] })
    await browser.scheduler.pass(SECOND)
    browser.log.publish('book/1')
    page.widen(['author/*'])
    expect(page.connection?.status).toBe('connecting')
    await browser.scheduler.pass(SECOND)
    expect(page.connection?.status).toBe('open')
    browser.log.publish('author/1')
    browser.log.publish('book/2')
    await browser.scheduler.pass(SECOND)
    expect(page.told).toEqual([1, 2, 3])
  })

  test('the connection is in the background when all pages are', async () => {
    const browser = new Browser({ without })
    const pages = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    const visible = () => browser.log.live[0]?.isVisible
    pages[0]?.see(false)
    await browser.scheduler.pass(0)
    expect(visible()).toBe(true)
    pages[1]?.see(false)
    await browser.scheduler.pass(0)
    expect(visible()).toBe(false)
    pages[0]?.see(true)
    await browser.scheduler.pass(0)
    expect(visible()).toBe(true)
  })

  test('any page can wake it', async () => {
    const browser = new Browser({ without })
    const pages = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    for (const page of pages) page.source.wake()
    await browser.scheduler.pass(0)
    expect(browser.log.live[0]).toMatchObject({ wakes: 2, isPatient: false })
    pages[0]?.source.wake(true)
    await browser.scheduler.pass(0)
    expect(browser.log.live[0]).toMatchObject({ wakes: 3, isPatient: true })
  })

  test('how the connection is, and why, is told to all', async () => {
    const browser = new Browser({ without })
    const pages = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    browser.log.live[0]?.fail(new TidingsError('unavailable', 'later', { status: 503, retrying: true }))
    await browser.scheduler.pass(0)
    for (const page of pages) {
      expect(page.connection).toMatchObject({ status: 'waiting', error: { code: 'unavailable', status: 503 } })
      expect(page.connection?.error).toBeInstanceOf(TidingsError)
    }
  })

  test('a holder that is late to come back, as its timers are throttled, is woken by a page that is seen', async () => {
    const browser = new Browser({ without })
    browser.open({ hidden: true })
    await browser.scheduler.pass(SECOND)
    const seen = browser.open()
    await browser.scheduler.pass(SECOND)
    browser.log.live[0]?.fail(new TidingsError('network', 'away', { retrying: true }), 'waiting', 10 * SECOND)
    await browser.scheduler.pass(14 * SECOND)
    expect(browser.log.live[0]?.wakes).toBe(0)
    await browser.scheduler.pass(3 * SECOND)
    expect(browser.log.live[0]?.wakes).toBeGreaterThan(0)
    expect(seen.connection?.status).toBe('waiting')
  })

  test('a refused connection is tried again when another page comes', async () => {
    const browser = new Browser({ without })
    browser.open()
    await browser.scheduler.pass(SECOND)
    browser.log.live[0]?.fail(new TidingsError('unauthorized', 'no', { status: 401 }), 'closed')
    await browser.scheduler.pass(0)
    const late = browser.open()
    await browser.scheduler.pass(SECOND)
    expect(browser.log.live[0]?.wakes).toBe(1)
    expect(late.connection?.status).toBe('open')
  })

  test('when the last page closes, the connection ends', async () => {
    const browser = new Browser({ without })
    const pages = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    for (const page of pages) page.source.close(false)
    await browser.scheduler.pass(SECOND)
    expect(browser.log.live).toEqual([])
    expect(statuses(pages)).toEqual(['closed', 'closed'])
  })

  test('whoever logs out logs out all pages, and what was heard is forgotten', async () => {
    const browser = new Browser({ without })
    const [one, other] = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    browser.log.publish('book/1')
    await browser.scheduler.pass(SECOND)
    one.source.close(true)
    await browser.scheduler.pass(SECOND)
    expect(other.loggedOut).toBe(true)
    expect(browser.log.live).toEqual([])
    const next = browser.open()
    await browser.scheduler.pass(SECOND)
    expect(next.connection?.status).toBe('open')
    expect(next.present).toEqual([])
  })

  test('a page that was put away when somebody logged out is logged out when it is back', async () => {
    const browser = new Browser({ without })
    const [away, here] = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    away.putAway()
    here.source.close(true)
    await browser.scheduler.pass(SECOND)
    const opened = browser.log.opened
    away.bringBack()
    await browser.scheduler.pass(SECOND)
    expect(away.loggedOut).toBe(true)
    expect(browser.log.opened).toBe(opened)
    // Who comes later knows of no logout.
    const next = browser.open()
    await browser.scheduler.pass(SECOND)
    next.putAway()
    next.bringBack()
    await browser.scheduler.pass(SECOND)
    expect([next.loggedOut, next.connection?.status]).toEqual([false, 'open'])
  })

  test('a page that is put away holds neither locks nor channels, and misses nothing', async () => {
    const browser = new Browser({ without })
    const [first, second] = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    first.window.dispatchEvent(Object.assign(new Event('pagehide'), { persisted: true }))
    expect(browser.channels.ownedBy(first.name)).toBe(0)
    await browser.scheduler.pass(0)
    expect(browser.locks.ownedBy(first.name)).toEqual([])
    browser.log.publish('book/1')
    await browser.scheduler.pass(SECOND)
    expect([first.told, second.told]).toEqual([[], [1]])
    first.bringBack()
    await browser.scheduler.pass(SECOND)
    expect(first.told).toEqual([1])
    expect(browser.log.live).toHaveLength(1)
  })
})

describe('a worker', () => {
  test('sends a page only what it wants', async () => {
    const browser = new Browser()
    const [books, authors] = [browser.open({ want: ['book/*'] }), browser.open({ want: ['author/*'] })]
    await browser.scheduler.pass(SECOND)
    const before = books.batches.length
    for (let number = 0; number < 20; number++) browser.log.publish('author/1')
    await browser.scheduler.pass(0)
    expect(books.batches).toHaveLength(before)
    expect(authors.told).toHaveLength(20)
    // Its place is told when it asks, so that a quiet page is not taken for one that is behind.
    await browser.scheduler.pass(SECOND)
    expect(books.cursor).toBe(place(20))
  })

  test.each([
    { locks: 'with locks', without: [], within: 0 },
    { locks: 'without locks', without: ['locks'], within: 2 * SECOND },
  ] as const)('that dies is noticed within 2 s by pages that are seen ($locks)', async ({ without, within }) => {
    const browser = new Browser({ without })
    const pages = [browser.open(), browser.open()]
    await browser.scheduler.pass(5 * SECOND)
    for (const worker of browser.workers) browser.crash(worker)
    browser.log.publish('book/1')
    await browser.scheduler.pass(within)
    expect(sharings(pages)).not.toContain('worker')
    await browser.scheduler.pass(SECOND)
    for (const page of pages) {
      expect(page.told).toEqual([1])
      expect(page.errors).toMatchObject([{ code: 'sharing', retrying: true }])
    }
  })

  test('that stalls for some seconds, but lives, keeps its pages', async () => {
    const browser = new Browser()
    const pages = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    for (const worker of browser.workers) browser.scheduler.freeze(worker, true)
    await browser.scheduler.pass(10 * SECOND)
    for (const worker of browser.workers) browser.scheduler.freeze(worker, false)
    browser.log.publish('book/1')
    await browser.scheduler.pass(SECOND)
    expect(sharings(pages)).toEqual(['worker', 'worker'])
    expect(pages.map(page => page.told)).toEqual([[1], [1]])
  })

  test('that gives no answer is left by all pages together, also by those that did not ask', async () => {
    const browser = new Browser()
    const pages = [browser.open(), browser.open({ hidden: true }), browser.open({ hidden: true })]
    await browser.scheduler.pass(SECOND)
    for (const worker of browser.workers) browser.scheduler.freeze(worker, true)
    await browser.scheduler.pass(20 * SECOND)
    for (const worker of browser.workers) browser.scheduler.freeze(worker, false)
    await browser.scheduler.pass(SECOND)
    expect(sharings(pages).sort()).toEqual(['follower', 'follower', 'leader'])
    for (const page of pages) expect(page.errors).toMatchObject([{ code: 'sharing', retrying: true }])
    expect(browser.log.live).toHaveLength(1)
  })

  test('forgets pages that have crashed, and those that said farewell', async () => {
    const browser = new Browser()
    const pages = [browser.open(), browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    expect(browser.ports).toBe(3)
    pages[0]?.crash()
    pages[1]?.close()
    await browser.scheduler.pass(SECOND)
    expect(browser.ports).toBe(1)
  })

  test('that has died leaves a leader, which pages that come later follow too', async () => {
    const browser = new Browser()
    browser.open()
    await browser.scheduler.pass(SECOND)
    for (const worker of browser.workers) browser.crash(worker)
    await browser.scheduler.pass(SECOND)
    const late = browser.open()
    await browser.scheduler.pass(SECOND)
    expect(late.connection).toMatchObject({ status: 'open', sharing: 'follower' })
    expect(browser.log.live).toHaveLength(1)
  })

  test('that dies without locks is noticed by a hidden page when it is seen again', async () => {
    const browser = new Browser({ without: ['locks'] })
    const page = browser.open({ hidden: true })
    await browser.scheduler.pass(5 * SECOND)
    for (const worker of browser.workers) browser.crash(worker)
    browser.log.publish('book/1')
    await browser.scheduler.pass(60 * SECOND)
    expect(page.connection?.sharing).toBe('worker')
    page.see(true)
    await browser.scheduler.pass(2 * SECOND)
    expect(page.told).toEqual([1])
  })

  test('is not taken for dead by a page that stood still itself', async () => {
    const browser = new Browser({ without: ['locks'] })
    const page = browser.open()
    await browser.scheduler.pass(SECOND)
    page.freeze()
    await browser.scheduler.pass(60 * SECOND)
    page.thaw()
    await browser.scheduler.pass(10 * SECOND)
    expect(page.connection?.sharing).toBe('worker')
    expect(page.errors).toEqual([])
  })

  test('sends a page that stands still no more than it may be behind, and that page reads the rest by itself', async () => {
    const browser = new Browser()
    const [page, other] = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    page.freeze()
    for (let number = 0; number < 1_000; number++) browser.log.publish('book/1')
    await browser.scheduler.pass(SECOND)
    page.thaw()
    await browser.scheduler.pass(10 * SECOND)
    expect(page.told).toEqual(browser.log.events.map(event => event.data))
    expect(other.told).toEqual(page.told)
    expect(browser.log.polls).toBeGreaterThan(0)
  })

  test('without locks forgets a page that says nothing for three minutes, which is told when it speaks again', async () => {
    const browser = new Browser({ without: ['locks'] })
    const [page, other] = [browser.open({ want: ['book/1'] }), browser.open({ want: ['book/2'] })]
    await browser.scheduler.pass(SECOND)
    page.freeze()
    await browser.scheduler.pass(400 * SECOND)
    expect(browser.log.live[0]?.wanted).toEqual(['book/2'])
    browser.log.publish('book/1')
    page.thaw()
    await browser.scheduler.pass(30 * SECOND)
    expect(page.told).toEqual([1])
    expect(other.told).toEqual([])
    expect(browser.log.live).toHaveLength(1)
  })

  test('asks the page that is seen for a credential, and the next one if it has none', async () => {
    const asked: string[] = []
    const provider = (name: string, token: string | undefined) => async () => {
      asked.push(name)
      if (!token) throw new TidingsError('token', 'the login server is away', { retrying: true })
      return { token }
    }
    const browser = new Browser()
    browser.open({ hidden: true, credential: provider('hidden', 'old') })
    browser.open({ credential: provider('seen', undefined) })
    await browser.scheduler.pass(SECOND)
    const token = browser.log.live[0]?.sink.token(true, new AbortController().signal)
    await browser.scheduler.pass(SECOND)
    expect(await token).toEqual({ token: 'old' })
    expect(asked).toEqual(['seen', 'hidden'])
  })

  test('asks the next page after 10 s, and says so if none has an answer', async () => {
    const browser = new Browser()
    browser.open({ credential: () => new Promise(() => {}) })
    browser.open({ hidden: true, credential: () => Promise.resolve(undefined) })
    await browser.scheduler.pass(SECOND)
    const token = browser.log.live[0]?.sink.token(false, new AbortController().signal)
    await browser.scheduler.pass(10 * SECOND)
    expect(await token).toBe(undefined)
    browser.pages[1]?.close()
    await browser.scheduler.pass(SECOND)
    const refused = browser.log.live[0]?.sink.token(false, new AbortController().signal)
    const expected = expect(refused).rejects.toMatchObject({ code: 'token', retrying: true })
    await browser.scheduler.pass(10 * SECOND)
    await expected
  })
})

describe('a leader', () => {
  test.each(['close', 'crash'] as const)('that is gone (%s) is followed by another page at once', async how => {
    const browser = new Browser({ without: ['worker'] })
    const pages = [browser.open(), browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    const leader = pages.find(page => page.connection?.sharing === 'leader')
    leader?.[how]()
    browser.log.publish('book/1')
    await browser.scheduler.pass(0)
    const left = pages.filter(page => page !== leader)
    expect(sharings(left).sort()).toEqual(['follower', 'leader'])
    expect(left.map(page => page.told)).toEqual([[1], [1]])
    expect(browser.log.polls).toBe(0)
    expect(left.flatMap(page => page.errors)).toEqual([])
  })

  test('resumes from the lowest place that a page stands at', async () => {
    const browser = new Browser({ without: ['worker'] })
    for (let number = 0; number < 5; number++) browser.log.publish('book/1')
    const leader = browser.open()
    await browser.scheduler.pass(SECOND)
    // What it misses can't be read just now.
    browser.log.pollStatus = 503
    const [behind, ahead] = [browser.open({ cursor: place(2) }), browser.open()]
    await browser.scheduler.pass(SECOND)
    leader.crash()
    await browser.scheduler.pass(SECOND)
    expect(browser.log.live.map(link => link.settings.cursor)).toEqual([place(2)])
    expect(behind.told).toEqual([3, 4, 5])
    expect(ahead.told).toEqual([])
  })

  test('that stands still is deposed by a page that is seen, and follows when it is back', async () => {
    const browser = new Browser({ without: ['worker'] })
    const leader = browser.open()
    await browser.scheduler.pass(SECOND)
    const other = browser.open()
    await browser.scheduler.pass(SECOND)
    expect(sharings([leader, other])).toEqual(['leader', 'follower'])
    leader.freeze()
    await browser.scheduler.pass(5 * SECOND)
    browser.log.publish('book/1')
    await browser.scheduler.pass(SECOND)
    expect(other.connection?.sharing).toBe('leader')
    expect(other.told).toEqual([1])
    leader.thaw()
    await browser.scheduler.pass(SECOND)
    browser.log.publish('book/2')
    await browser.scheduler.pass(SECOND)
    expect(sharings([leader, other])).toEqual(['follower', 'leader'])
    expect(leader.told).toEqual([1, 2])
    expect(browser.log.live).toHaveLength(1)
    // And it watches the new one.
    other.freeze()
    await browser.scheduler.pass(6 * SECOND)
    expect(leader.connection?.sharing).toBe('leader')
  })

  test('asks its own provider, and no credential is ever broadcast', async () => {
    const browser = new Browser({ without: ['worker'] })
    const credential = (token: string) => async () => ({ token })
    browser.open({ credential: credential('secret of the leader') })
    await browser.scheduler.pass(SECOND)
    browser.open({ credential: credential('secret of the follower') })
    await browser.scheduler.pass(SECOND)
    const token = await browser.log.live[0]?.sink.token(false, new AbortController().signal)
    await browser.scheduler.pass(SECOND)
    expect(token).toEqual({ token: 'secret of the leader' })
    expect(browser.channels.sent.length).toBeGreaterThan(0)
    expect(JSON.stringify(browser.channels.sent)).not.toContain('secret')
  })
})

describe('where sharing is not possible', () => {
  test('pages with a token provider share only with a scope, by which users are told apart', async () => {
    const token = () => 'of whoever is logged in'
    const browser = new Browser()
    const alone = [browser.open({ token }), browser.open({ token })]
    await browser.scheduler.pass(SECOND)
    expect(sharings(alone)).toEqual(['none', 'none'])
    expect(browser.log.live).toHaveLength(2)
    for (const page of alone) {
      expect(page.errors).toMatchObject([{ code: 'sharing', message: expect.stringContaining('`scope`') }])
    }
    const together = [browser.open({ token, scope: 'u1' }), browser.open({ token, scope: 'u1' })]
    await browser.scheduler.pass(SECOND)
    expect(sharings(together)).toEqual(['worker', 'worker'])
    expect(together.flatMap(page => page.errors)).toEqual([])
    expect(browser.log.live).toHaveLength(3)
  })

  test('what the browser does not have is passed over in silence', async () => {
    const browser = new Browser({ without: ['worker', 'locks', 'channel'] })
    const pages = [browser.open(), browser.open()]
    await browser.scheduler.pass(SECOND)
    browser.log.publish('book/1')
    await browser.scheduler.pass(SECOND)
    expect(pages.map(page => page.told)).toEqual([[1], [1]])
    expect(sharings(pages)).toEqual(['none', 'none'])
    expect(pages.flatMap(page => page.errors)).toEqual([])
    expect(browser.log.live).toHaveLength(2)
  })

  test.each([
    { share: 'worker', sharing: 'worker' },
    { share: 'leader', sharing: 'leader' },
    { share: 'none', sharing: 'none' },
  ] as const)('the way that was asked for is taken ($share)', async ({ share, sharing }) => {
    const browser = new Browser()
    const page = browser.open({ share })
    await browser.scheduler.pass(SECOND)
    expect(page.connection).toMatchObject({ status: 'open', sharing })
  })

  test('a worker that throws, as in an opaque origin, is reported, and a leader takes over', async () => {
    const browser = new Browser()
    const page = browser.open({
      worker: () => {
        throw new DOMException('access to shared workers is denied', 'SecurityError')
      },
    })
    await browser.scheduler.pass(SECOND)
    expect(page.connection).toMatchObject({ status: 'open', sharing: 'leader' })
    expect(page.errors).toMatchObject([{ code: 'sharing', retrying: true }])
    expect(page.errors[0]?.message).toContain('access to shared workers is denied')
  })

  test('a worker whose script does not come is reported, and a leader takes over', async () => {
    const browser = new Browser()
    let worker: SharedWorker | undefined
    const page = browser.open({
      worker: name => {
        worker = browser.worker('nobody', name)
        return worker
      },
    })
    await browser.scheduler.pass(0)
    worker?.onerror?.(new Event('error') as ErrorEvent)
    await browser.scheduler.pass(SECOND)
    expect(page.connection).toMatchObject({ status: 'open', sharing: 'leader' })
    expect(page.errors[0]?.message).toContain('worker-src')
  })

  test('a worker that never answers is given up after some seconds', async () => {
    const browser = new Browser()
    const port = { postMessage() {}, close() {}, onmessage: null }
    const page = browser.open({ worker: () => ({ port, onerror: null }) as unknown as SharedWorker })
    await browser.scheduler.pass(10 * SECOND)
    expect(page.connection).toMatchObject({ status: 'open', sharing: 'leader' })
    expect(page.errors).toMatchObject([{ code: 'sharing' }])
  })

  test('locks that are refused, as where storage is disabled, are reported, and each page has its own connection', async () => {
    const browser = new Browser({ without: ['worker'] })
    const refused = () => Promise.reject(new DOMException('storage is disabled', 'SecurityError'))
    const locks = { request: refused, query: refused } as unknown as LockManager
    const page = browser.open({ environment: { locks } })
    await browser.scheduler.pass(SECOND)
    browser.log.publish('book/1')
    await browser.scheduler.pass(SECOND)
    expect(page.connection).toMatchObject({ status: 'open', sharing: 'none' })
    expect(page.told).toEqual([1])
    expect(page.errors).toMatchObject([{ code: 'sharing', message: expect.stringContaining('locks') }])
  })
})

describe('the name under which pages meet', () => {
  const name = (options: ClientOptions) => shareName(settle(options, new Browser().environment('page')), options.token)
  const base: ClientOptions = { url: 'https://hub.example/', scope: 'u1', query: { a: '1', b: '2' } }

  test('is one for one hub, path, query and scope, however they are written', () => {
    const same: ClientOptions[] = [
      { ...base, query: { b: '2', a: '1' } },
      { ...base, cursor: place(3), transports: ['poll'], backoff: { base: 1 } },
    ]
    for (const options of same) expect(name(options)).toBe(name(base))
  })

  test('differs for another user, hub, path, query, header, credential or token', () => {
    const others: ClientOptions[] = [
      { ...base, scope: 'u2' },
      { ...base, url: 'https://other.example/' },
      { ...base, paths: { sse: 'api/events' } },
      { ...base, query: { a: '1' } },
      { ...base, headers: { 'x-api-key': 'k' } },
      { ...base, credentials: 'include' },
      { ...base, token: 'secret of u1' },
      { ...base, token: 'secret of u2' },
    ]
    expect(new Set([base, ...others].map(name)).size).toBe(others.length + 1)
    expect(name({ ...base, headers: { 'x-api-key': 'secret' }, token: 'secret' })).not.toContain('secret')
  })

  test('is one for all token providers: what they give says nothing of who asks', () => {
    expect(name({ ...base, token: () => 'a' })).toBe(name({ ...base, token: async () => 'b' }))
  })

  test('keeps users apart in one browser', async () => {
    const browser = new Browser()
    const pages = [browser.open({ scope: 'u1' }), browser.open({ scope: 'u2' })]
    await browser.scheduler.pass(SECOND)
    expect(browser.log.live).toHaveLength(2)
    pages[0]?.source.close(true)
    await browser.scheduler.pass(SECOND)
    expect(pages[1]?.loggedOut).toBe(false)
    expect(pages[1]?.connection?.status).toBe('open')
  })
})
