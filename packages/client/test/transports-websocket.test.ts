import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { TransportRequest } from '../src/source.js'
import { websocket } from '../src/transports/websocket.js'
import { browser, connect, FakeSocket, settled } from './transports.harness.js'

const unhandled: unknown[] = []
process.on('unhandledRejection', error => unhandled.push(error))
beforeEach(() => {
  unhandled.length = 0
})

const url = new URL('https://hub.example/v1/ws')
const OPEN = { type: 'open', cursor: '9f3c2a1b-40', heartbeat: 20_000 }
const cursor = (cursor: string) => ({ type: 'cursor', cursor })

function begin(asked: Partial<TransportRequest> = {}) {
  const page = browser()
  const told = connect(websocket, page, { url, ...asked })
  return { page, told, socket: page.socket() }
}

/** A connection that is open and subscribed, its frames handed over. */
async function subscribed(asked: Partial<TransportRequest> = {}, live = true) {
  const begun = begin(asked)
  begun.socket.onopen?.()
  begun.socket.says(OPEN, { type: 'subscribed', id: 'all', cursor: '9f3c2a1b-41', live })
  await begun.page.clock.pass(1_000)
  begun.told.batches.length = 0
  return begun
}

describe('what is asked', () => {
  test('the credential is a subprotocol, and topics and place are one subscription', () => {
    const { socket } = begin({ token: 'secret', topics: ['book/*'], cursor: '9f3c2a1b-7' })
    expect(String(socket.url)).toBe('wss://hub.example/v1/ws')
    expect(socket.protocols).toEqual(['tidings.v1', 'bearer.secret'])
    expect(socket.sent).toEqual([])
    socket.onopen?.()
    expect(socket.sent).toEqual([{ type: 'subscribe', id: 'all', topics: ['book/*'], cursor: '9f3c2a1b-7' }])
  })

  test('without topics and place it is all, from now on', () => {
    const { socket } = begin({ url: new URL('http://hub.example/v1/ws') })
    expect(String(socket.url)).toBe('ws://hub.example/v1/ws')
    socket.onopen?.()
    expect(socket.protocols).toEqual(['tidings.v1'])
    expect(socket.sent).toEqual([{ type: 'subscribe', id: 'all' }])
  })

  test('a mount’s own parameters subscribe by themselves, so that the rest stands beside them', () => {
    const { socket } = begin({ query: { libraries: 'l1,l2' }, cursor: '9f3c2a1b-7' })
    expect([...socket.url.searchParams]).toEqual([
      ['libraries', 'l1,l2'],
      ['cursor', '9f3c2a1b-7'],
    ])
    socket.onopen?.()
    expect(socket.sent).toEqual([])
  })

  test('a credential that can’t be a subprotocol is an end, and throws at nobody', async () => {
    const page = browser()
    const WebSocket = vi.fn()
    const environment = { ...page.environment, WebSocket: WebSocket as unknown as typeof globalThis.WebSocket }
    const told = connect(websocket, { environment }, { url, token: 'sec ret' })
    expect(told.endings).toEqual([])
    await settled()
    // Another transport can send it. No browser is asked, whose exception would quote it.
    expect(WebSocket).not.toHaveBeenCalled()
    expect(told.endings).toEqual([{ kind: 'protocol', message: expect.not.stringContaining('sec') }])
    expect(page.clock.waiting).toBe(0)
  })
})

describe('the cursor rules of protocol §8.3', () => {
  test('while the past is told each event moves it, and the connection’s own position does not', async () => {
    const { page, told, socket } = await subscribed({ cursor: '9f3c2a1b-7' }, false)
    expect(told.opened).toBe(1)
    socket.says(
      { type: 'event', name: 'a', topic: 't/1', data: { n: 1 }, time: 5, cursor: '9f3c2a1b-8' },
      cursor('9f3c2a1b-40'),
      { type: 'event', name: 'b', topic: 't/1', data: null, time: 6, cursor: '9f3c2a1b-9' },
      { type: 'live', id: 'all', cursor: '9f3c2a1b-41' },
      cursor('9f3c2a1b-50'),
    )
    await page.clock.pass(100)
    expect(told.frames()).toEqual([
      { type: 'event', event: { name: 'a', topic: 't/1', data: { n: 1 }, time: 5, cursor: '9f3c2a1b-8' } },
      { type: 'event', event: { name: 'b', topic: 't/1', data: null, time: 6, cursor: '9f3c2a1b-9' } },
      cursor('9f3c2a1b-41'),
      cursor('9f3c2a1b-50'),
    ])
  })

  test('the position of the opening is none of the subscription’s, and a gap comes before where it goes on', async () => {
    const { page, told, socket } = begin({ cursor: 'old' })
    socket.onopen?.()
    const gap = { reason: 'trimmed', asked: '9f3c2a1b-1', resumed: '9f3c2a1b-30', at_most: 29 }
    socket.says(OPEN, { type: 'subscribed', id: 'all', cursor: '9f3c2a1b-30', live: false, gap })
    await page.clock.pass(100)
    expect(told.frames()).toEqual([
      { type: 'gap', gap: { reason: 'trimmed', asked: '9f3c2a1b-1', resumed: '9f3c2a1b-30', atMost: 29 } },
      cursor('9f3c2a1b-30'),
    ])
  })

  test('signals and present states have no place, and what is newer than this client is passed over', async () => {
    const { page, told, socket } = await subscribed()
    socket.says(
      { type: 'retained', id: 'all', name: 'mode', topic: 'server', data: 'normal', time: 1, cursor: 'x' },
      { type: 'signal', name: 'tick', topic: 'job/1', data: 3, time: 2 },
      { type: 'heartbeat' },
      { type: 'pong' },
      { type: 'tomorrow', id: 'all' },
      { type: 'error', id: 'another', status: 400, code: 'x', detail: 'y' },
      { type: 'gap', reason: 'trimmed', asked: 'a', resumed: 'b' },
    )
    await page.clock.pass(100)
    expect(told.frames()).toEqual([
      { type: 'event', event: { name: 'mode', topic: 'server', data: 'normal', time: 1, cursor: undefined } },
      { type: 'event', event: { name: 'tick', topic: 'job/1', data: 3, time: 2, cursor: undefined } },
      { type: 'gap', gap: { reason: 'trimmed', asked: 'a', resumed: 'b', atMost: undefined } },
    ])
    expect(told.endings).toEqual([])
  })
})

test('a first message is handed over at once, and a burst behind it together', async () => {
  const { page, told, socket } = await subscribed()
  const event = (n: number) => ({ type: 'event', name: 'n', topic: 't', data: n, time: 1, cursor: `9f3c2a1b-${n}` })
  socket.says(event(50))
  expect(told.batches.map(({ length }) => length)).toEqual([1])
  socket.says(...Array.from({ length: 1_000 }, (_, n) => event(51 + n)))
  expect(told.batches).toHaveLength(1)
  await page.clock.pass(10)
  expect(told.batches.map(({ length }) => length)).toEqual([1, 1_000])
})

test('a page that is hidden hands over each at once, for its timers are late', async () => {
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' as DocumentVisibilityState })
  const page = browser()
  const told = connect(websocket, { environment: { ...page.environment, document } })
  page.socket().onopen?.()
  page.socket().says(OPEN, { type: 'subscribed', id: 'all', cursor: '9f3c2a1b-41', live: true })
  await page.clock.pass(1_000)
  told.batches.length = 0
  const signal = { type: 'signal', name: 'a', topic: '', data: 1, time: 1 }
  page.socket().says(signal, signal)
  expect(told.batches).toHaveLength(1)
  document.visibilityState = 'hidden'
  page.socket().says(signal, signal)
  expect(told.batches.map(({ length }) => length)).toEqual([1, 2, 1])
})

describe('ends', () => {
  test('the last words are told before it, with what was gathered', async () => {
    const { told, socket } = await subscribed()
    socket.says(
      { type: 'signal', name: 'a', topic: '', data: 1, time: 1 },
      { type: 'close', code: 4002, reason: 'revoked', message: 'the credential was revoked', reconnect: false },
    )
    await socket.ends(4002, 'revoked')
    expect(told.frames().at(-1)).toEqual({
      type: 'close',
      close: { code: 4002, reason: 'revoked', message: 'the credential was revoked', reconnect: false },
    })
    expect(told.frames()).toHaveLength(2)
    expect(told.endings).toEqual([{ kind: 'ended', cause: undefined }])
  })

  test.each([
    [3001, 'draining', true],
    [4001, 'expired', false],
  ])('the code %i says it too, where the words were lost', async (code, reason, reconnect) => {
    const { told, socket } = await subscribed()
    await socket.ends(code, reason)
    expect(told.frames()).toEqual([{ type: 'close', close: { code, reason, message: reason, reconnect } }])
    expect(told.endings).toEqual([{ kind: 'ended', cause: undefined }])
  })

  test.each([1000, 1001, 1005, 1006, 1011])('the code %i is an end without a reason', async code => {
    const { told, socket } = await subscribed()
    await socket.ends(code)
    expect([told.frames(), told.endings]).toEqual([[], [{ kind: 'ended', cause: undefined }]])
  })

  test.each([1002, 1003, 1007, 1008, 1009])('by the code %i the hub says that the protocol was broken', async code => {
    const { told, socket } = await subscribed()
    await socket.ends(code, 'why')
    expect(told.endings).toEqual([{ kind: 'protocol', message: `the hub closed with ${code} why` }])
  })

  test.each([
    ['no JSON', '{"type"'],
    ['no object', '[1]'],
    ['a binary message', new ArrayBuffer(4)],
    ['an event without a name', { type: 'event', topic: 't', data: 1, cursor: 'c' }],
    ['a position without a cursor', { type: 'subscribed', id: 'all', live: true }],
    ['a gap without its end', { type: 'gap', reason: 'trimmed' }],
  ])('%s breaks the protocol, after what came before was handed over', async (_, message) => {
    const { told, socket } = await subscribed()
    socket.says({ type: 'signal', name: 'a', topic: '', data: 1, time: 1 })
    if (message instanceof ArrayBuffer) socket.onmessage?.({ data: message })
    else socket.says(message)
    expect(told.frames()).toMatchObject([{ event: { name: 'a' } }])
    expect(told.endings).toMatchObject([{ kind: 'protocol' }])
    expect(socket.closed).toBe(true)
  })

  test('a subscription that is refused has its status and its problem', () => {
    const { told, socket } = begin({ topics: ['a//b'] })
    socket.onopen?.()
    socket.says(OPEN, {
      type: 'error',
      id: 'all',
      status: 400,
      code: 'invalid-topic',
      detail: 'no',
      parameter: 'topics',
    })
    expect(told).toMatchObject({
      opened: 0,
      endings: [{ kind: 'refused', status: 400, problem: { status: 400, detail: 'no', parameter: 'topics' } }],
    })
  })
})

describe('silence', () => {
  test('is asked about in the middle, and is the end if nothing answers', async () => {
    const { page, told, socket } = await subscribed()
    await page.clock.pass(21_500)
    expect(socket.sent.slice(1)).toEqual([{ type: 'ping' }])
    await page.clock.pass(22_500)
    expect(told.endings).toEqual([{ kind: 'silence' }])
    expect(socket.closed).toBe(true)
  })

  test('is broken by any message', async () => {
    const { page, told, socket } = await subscribed()
    for (let beat = 0; beat < 10; beat++) {
      await page.clock.pass(20_000)
      socket.says({ type: 'heartbeat' })
    }
    expect(told.endings).toEqual([])
    expect(socket.sent).toHaveLength(1)
  })

  test('also ends a handshake that is never answered', async () => {
    const { page, told } = begin()
    await page.clock.pass(45_000)
    expect(told.endings).toEqual([{ kind: 'silence' }])
  })
})

describe('a handshake that fails', () => {
  test('is asked about by a poll with the same credential, which says why', async () => {
    const { page, told, socket } = begin({ token: 'old', headers: { 'x-more': '1' }, credentials: 'include' })
    await socket.ends(1006)
    const call = page.last()
    expect(call.url.href).toBe('https://hub.example/v1/poll?wait=0')
    expect(Object.fromEntries(call.headers)).toEqual({
      accept: 'application/json',
      authorization: 'Bearer old',
      'x-more': '1',
    })
    expect(call.init.credentials).toBe('include')
    await call.reply(401, { detail: 'It ran out.' }, { 'retry-after': '3' })
    expect(told.endings).toEqual([
      { kind: 'refused', status: 401, problem: { detail: 'It ran out.' }, retryAfter: 3_000 },
    ])
  })

  test.each([200, 404, 405])(
    'is an end with its cause where that is answered %i: it is the WebSocket that does not get through',
    async status => {
      const { page, told, socket } = begin({ probe: new URL('https://hub.example/app/poll') })
      await socket.ends(1006)
      expect(page.last().url.pathname).toBe('/app/poll')
      await page.last().reply(status, {})
      expect(told.endings).toMatchObject([{ kind: 'ended', cause: { message: expect.stringContaining(`${status}`) } }])
    },
  )

  test('is an end where a header of the options is none, and throws at nobody', async () => {
    const { page, told, socket } = begin({ headers: { 'x-user': 'Ő' } })
    await socket.ends(1006)
    expect(page.calls).toHaveLength(0)
    expect(told.endings).toMatchObject([{ kind: 'ended', cause: { code: 'refused', retrying: false } }])
    expect(unhandled).toEqual([])
  })

  test('is an end where nobody is reached', async () => {
    const { page, told, socket } = begin()
    await socket.ends(1006)
    await page.last().fail()
    expect(told.endings).toMatchObject([{ kind: 'ended', cause: { message: 'fetch failed' } }])
  })
})

test.each(['before', 'while it connects', 'while it is asked why', 'in the middle of a burst'])(
  'an abort %s is silent and leaves nothing',
  async when => {
    const page = browser()
    const abort = new AbortController()
    const told: unknown[] = []
    if (when === 'before') abort.abort()
    const sink = {
      opened() {},
      frames: (frames: unknown) => void told.push(frames),
      ended: (ending: unknown) => void told.push(ending),
    }
    const request = {
      url,
      query: {},
      topics: undefined,
      cursor: undefined,
      token: undefined,
      headers: {},
      credentials: 'same-origin',
      silence: 45_000,
    } as const
    websocket(request, sink, page.environment, abort.signal)
    const socket = FakeSocket.made.at(-1)
    if (when === 'while it is asked why') await socket?.ends(1006)
    if (when === 'in the middle of a burst') {
      socket?.onopen?.()
      socket?.says({ type: 'signal', name: 'a', data: 1 }, { type: 'signal', name: 'b', data: 1 })
    }
    const before = told.length
    abort.abort()
    socket?.says({ type: 'signal', name: 'c', data: 1 })
    await socket?.ends(1006)
    await page.clock.pass(100_000)
    expect(told).toHaveLength(before)
    expect(page.clock.waiting).toBe(0)
    expect(socket === undefined || socket.closed).toBe(true)
    expect(unhandled).toEqual([])
  },
)
