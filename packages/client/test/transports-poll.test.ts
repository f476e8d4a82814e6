import { beforeEach, describe, expect, test } from 'vitest'
import { poll } from '../src/transports/poll.js'
import { browser, connect, settled } from './transports.harness.js'

const unhandled: unknown[] = []
process.on('unhandledRejection', error => unhandled.push(error))
beforeEach(() => {
  unhandled.length = 0
})

const url = new URL('https://hub.example/v1/poll')
const event = (n: number) => ({ name: 'n', topic: 't', data: n, time: 1, cursor: `9f3c2a1b-${n}` })
const frame = (n: number) => ({ type: 'event', event: event(n) })
const cursor = (n: number) => ({ type: 'cursor', cursor: `9f3c2a1b-${n}` })

test('the first poll gives the place, and each next one goes on from the last', async () => {
  const page = browser({ location: 'https://hub.example/' })
  const told = connect(poll, page, {
    url,
    topics: ['book/*'],
    token: 'secret',
    query: { a: 'b' },
    credentials: 'include',
  })
  expect([...page.last().url.searchParams]).toEqual([
    ['a', 'b'],
    ['wait', '0'],
    ['topic', 'book/*'],
  ])
  expect(Object.fromEntries(page.last().headers)).toEqual({
    accept: 'application/json',
    authorization: 'Bearer secret',
  })
  expect(page.last().init).toMatchObject({ credentials: 'include', cache: 'no-store' })
  const retained = { name: 'mode', topic: 'server', data: 'normal', time: 2 }
  await page.last().reply(200, { events: [retained], cursor: '9f3c2a1b-41' })
  expect(told.opened).toBe(1)
  expect(page.last().url.searchParams.get('cursor')).toBe('9f3c2a1b-41')
  expect(page.last().url.searchParams.get('wait')).toBe('22')
  await page.last().reply(200, { events: [event(42), event(43)], cursor: '9f3c2a1b-43' })
  expect(page.last().url.searchParams.get('cursor')).toBe('9f3c2a1b-43')
  expect(page.calls).toHaveLength(3)
  expect(told).toMatchObject({ opened: 1, endings: [] })
  expect(told.batches).toEqual([
    [{ type: 'event', event: { ...retained, cursor: undefined } }, cursor(41)],
    [frame(42), frame(43), cursor(43)],
  ])
})

test('one that goes on from a place is open at once, also on a quiet hub', async () => {
  const page = browser()
  const told = connect(poll, page, { url, cursor: '9f3c2a1b-1' })
  expect(page.last().url.searchParams.get('wait')).toBe('0')
  await page.last().reply(200, { events: [], cursor: '9f3c2a1b-1' })
  expect(told.opened).toBe(1)
  expect(page.last().url.searchParams.get('wait')).toBe('22')
})

test('a gap is told before what follows it', async () => {
  const page = browser()
  const told = connect(poll, page, { url, cursor: '9f3c2a1b-1' })
  expect(page.last().url.searchParams.get('cursor')).toBe('9f3c2a1b-1')
  const gap = { reason: 'trimmed', asked: '9f3c2a1b-1', resumed: '9f3c2a1b-9', at_most: 8 }
  await page.last().reply(200, { events: [event(10)], cursor: '9f3c2a1b-10', gap })
  expect(told.frames()).toEqual([
    { type: 'gap', gap: { reason: 'trimmed', asked: '9f3c2a1b-1', resumed: '9f3c2a1b-9', atMost: 8 } },
    frame(10),
    cursor(10),
  ])
})

test.each([
  ['draining', 3001, true],
  ['unavailable', 3005, true],
  ['expired', 4001, false],
  ['finished', 4007, false],
  ['tomorrow', 3006, true],
])('closed with %s is an end with the code %i', async (closed, code, reconnect) => {
  const page = browser()
  const told = connect(poll, page, { url, cursor: '9f3c2a1b-1' })
  await page.last().reply(200, { events: [event(2)], cursor: '9f3c2a1b-2', closed })
  expect(told.frames().slice(0, 2)).toEqual([frame(2), cursor(2)])
  expect(told.frames().at(-1)).toMatchObject({ type: 'close', close: { code, reason: closed, reconnect } })
  expect(told.endings).toEqual([{ kind: 'ended', cause: undefined }])
  expect(page.calls).toHaveLength(1)
})

describe('whoever answers at once without news', () => {
  test('is not asked without pause', async () => {
    const page = browser()
    connect(poll, page, { url, cursor: '9f3c2a1b-1' })
    await page.last().reply(200, { events: [], cursor: '9f3c2a1b-1' })
    await page.last().reply(200, { events: [], cursor: '9f3c2a1b-1' })
    await page.clock.pass(999)
    expect(page.calls).toHaveLength(2)
    await page.clock.pass(1)
    expect(page.calls).toHaveLength(3)
  })

  test('but at once where the wait was over', async () => {
    const page = browser()
    connect(poll, page, { url, cursor: '9f3c2a1b-1' })
    await page.last().reply(200, { events: [], cursor: '9f3c2a1b-1' })
    await page.clock.pass(22_000)
    await page.last().reply(200, { events: [], cursor: '9f3c2a1b-1' })
    expect(page.calls).toHaveLength(3)
  })
})

test('a refusal has its status, its problem and when to come back', async () => {
  const page = browser()
  const told = connect(poll, page, { url })
  await page.last().reply(429, { detail: 'Slowly.' }, { 'retry-after': '9' })
  expect(told).toMatchObject({
    opened: 0,
    endings: [{ kind: 'refused', status: 429, problem: { detail: 'Slowly.' }, retryAfter: 9_000 }],
  })
})

test('a page instead of an answer is told as that', async () => {
  const page = browser()
  const told = connect(poll, page, { url })
  await page.last().reply(200, '<html>')
  expect(told).toMatchObject({ opened: 0, endings: [{ kind: 'content-type', contentType: 'text/html' }] })
})

test.each([
  ['no JSON', '{"events":'],
  ['no object', '[]'],
  ['without events', '{"cursor":"c"}'],
  ['without a cursor', '{"events":[]}'],
  ['with an event that is none', '{"events":[1],"cursor":"c"}'],
  ['with an event without a name', '{"events":[{"data":1}],"cursor":"c"}'],
  ['with a gap without its end', '{"events":[],"cursor":"c","gap":{"reason":"trimmed"}}'],
])('an answer %s breaks the protocol', async (_, body) => {
  const page = browser()
  const told = connect(poll, page, { url })
  await page.last().reply(200, body, { 'content-type': 'application/json; charset=utf-8' })
  expect(told.endings).toMatchObject([{ kind: 'protocol' }])
  expect(told.batches).toEqual([])
  expect(page.clock.waiting).toBe(0)
})

test('a question that is not answered is silence, and a network that fails an end with its cause', async () => {
  const silent = browser()
  const told = connect(poll, silent, { url, cursor: '9f3c2a1b-1' })
  await silent.clock.pass(45_000)
  expect(told.endings).toEqual([{ kind: 'silence' }])
  expect(silent.last().signal.aborted).toBe(true)
  const failing = browser()
  const other = connect(poll, failing, { url })
  await failing.last().fail(new TypeError('no route'))
  expect(other.endings).toMatchObject([{ kind: 'ended', cause: { message: 'no route' } }])
})

test.each(['before', 'while it is asked', 'while it pauses', 'in a handler'])(
  'an abort %s is silent and leaves nothing',
  async when => {
    const page = browser()
    const abort = new AbortController()
    if (when === 'before') abort.abort()
    const endings: unknown[] = []
    const sink = {
      opened() {},
      frames: () => when === 'in a handler' && abort.abort(),
      ended: (ending: unknown) => void endings.push(ending),
    }
    const request = {
      url,
      query: {},
      topics: undefined,
      cursor: '9f3c2a1b-1',
      token: undefined,
      headers: {},
      credentials: 'same-origin',
      silence: 45_000,
    } as const
    poll(request, sink as never, page.environment, abort.signal)
    await settled()
    if (when === 'while it pauses') await page.last().reply(200, { events: [], cursor: '9f3c2a1b-1' })
    if (when === 'while it pauses' || when === 'in a handler')
      await page.last().reply(200, { events: [], cursor: '9f3c2a1b-1' })
    const calls = page.calls.length
    abort.abort()
    await page.clock.pass(100_000)
    expect(endings).toEqual([])
    expect(page.calls).toHaveLength(calls)
    expect(page.clock.waiting).toBe(0)
    expect(unhandled).toEqual([])
  },
)
