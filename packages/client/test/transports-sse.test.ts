import { beforeEach, describe, expect, test, vi } from 'vitest'
import { sse } from '../src/transports/sse.js'
import { browser, connect, settled } from './transports.harness.js'

const unhandled: unknown[] = []
process.on('unhandledRejection', error => unhandled.push(error))
beforeEach(() => {
  unhandled.length = 0
})

const OPEN = 'retry: 3000\n\nevent: tidings.open\ndata: {"cursor":"9f3c2a1b-41"}\nid: 9f3c2a1b-41\n\n'

describe('what is asked', () => {
  test('everything is in the query, but for the credential and what the options add', () => {
    const page = browser()
    connect(sse, page, {
      url: new URL('https://hub.example/base/v1/events?old=1'),
      topics: ['book/*', 'a b'],
      query: { libraries: 'l1,l2' },
      token: 'secret',
      headers: { 'X-More': '1' },
      credentials: 'include',
    })
    const { url, headers, init } = page.last()
    expect(url.pathname).toBe('/base/v1/events')
    expect([...url.searchParams]).toEqual([
      ['old', '1'],
      ['libraries', 'l1,l2'],
      ['meta', 'true'],
      ['topic', 'book/*'],
      ['topic', 'a b'],
    ])
    expect(Object.fromEntries(headers)).toEqual({
      accept: 'text/event-stream',
      authorization: 'Bearer secret',
      'x-more': '1',
    })
    expect(init).toMatchObject({ credentials: 'include', cache: 'no-store' })
  })

  test.each([
    ['of the own origin as a header', 'https://hub.example/page', '9f3c2a1b-42', 'header'],
    [
      'of another origin in the query, as a header would be a preflight',
      'https://app.example/',
      '9f3c2a1b-42',
      'query',
    ],
    ['of a page without an origin in the query', 'about:blank', '9f3c2a1b-42', 'query'],
    ['outside of a page as a header', undefined, '9f3c2a1b-42', 'header'],
    ['that is no header in the query', undefined, 'ü\n', 'query'],
  ])('the place is told, %s', (_, location, cursor, where) => {
    const page = browser({ location })
    connect(sse, page, { cursor })
    const { url, headers } = page.last()
    expect(headers.get('last-event-id')).toBe(where === 'header' ? cursor : null)
    expect(url.searchParams.get('cursor')).toBe(where === 'query' ? cursor : null)
  })
})

test('each read of the socket is one batch, and what is cut in between waits for its rest', async () => {
  const page = browser()
  const told = connect(sse, page)
  await page.last().stream()
  expect(told.opened).toBe(1)
  await page
    .last()
    .send(
      OPEN,
      'event: book.updated\ntopic: book/42\ntime: 1768600000000\ndata: {"id":42}\nid: 9f3c2a1b-42\n\nevent: tick\ntopic: job/1\nda',
      'ta: 1\n\n',
      ': heartbeat\n\n',
      'id: 9f3c2a1b-43\n\nid\n\n',
    )
  expect(told.batches).toEqual([
    [
      { type: 'retry', ms: 3000 },
      { type: 'cursor', cursor: '9f3c2a1b-41' },
    ],
    [
      {
        type: 'event',
        event: { name: 'book.updated', data: { id: 42 }, topic: 'book/42', cursor: '9f3c2a1b-42', time: 1768600000000 },
      },
    ],
    [{ type: 'event', event: { name: 'tick', data: 1, topic: 'job/1', cursor: undefined, time: undefined } }],
    [{ type: 'cursor', cursor: '9f3c2a1b-43' }],
  ])
})

test('gaps, positions and ends are frames of their own, and no events', async () => {
  const page = browser()
  const told = connect(sse, page)
  await page.last().stream()
  await page
    .last()
    .send(
      'event: tidings.gap\ndata: {"reason":"trimmed","asked":"9f3c2a1b-1","resumed":"9f3c2a1b-42","at_most":41}\nid: 9f3c2a1b-42\n\n' +
        'event: tidings.gap\ndata: {"reason":"unknown","asked":"x","resumed":"9f3c2a1b-42"}\n\n' +
        'event: tidings.cursor\ndata: {"cursor":"9f3c2a1b-50"}\n\n' +
        'event: tidings.close\ndata: {"code":3001,"reason":"draining","message":"the server is restarting","reconnect":true}\n\n',
    )
  await page.last().end()
  expect(told.frames()).toEqual([
    { type: 'gap', gap: { reason: 'trimmed', asked: '9f3c2a1b-1', resumed: '9f3c2a1b-42', atMost: 41 } },
    { type: 'gap', gap: { reason: 'unknown', asked: 'x', resumed: '9f3c2a1b-42', atMost: undefined } },
    { type: 'cursor', cursor: '9f3c2a1b-50' },
    { type: 'close', close: { code: 3001, reason: 'draining', message: 'the server is restarting', reconnect: true } },
  ])
  expect(told.endings).toEqual([{ kind: 'ended', cause: undefined }])
})

test('data that is no JSON stays the text that it is', async () => {
  const page = browser()
  const told = connect(sse, page)
  await page.last().stream()
  await page.last().send('data: 12:30 o’clock\n\nevent: n\ndata: 12\n\n')
  expect(told.frames()).toMatchObject([
    { event: { name: 'message', data: '12:30 o’clock' } },
    { event: { name: 'n', data: 12 } },
  ])
})

describe('refusals', () => {
  test.each([204, 400, 401, 403, 404, 429, 500, 503])('%i is told with its problem', async status => {
    const page = browser()
    const told = connect(sse, page)
    const problem = { type: 'urn:tidings:problem:x', title: 'X', status, detail: 'It is so.' }
    await page.last().reply(status, status === 204 ? null : problem, { 'retry-after': '7' })
    const found = status === 204 ? undefined : problem
    expect(told).toMatchObject({ opened: 0, endings: [{ kind: 'refused', status, problem: found, retryAfter: 7_000 }] })
    expect(page.clock.waiting).toBe(0)
  })

  test('Retry-After may be a date, and one that is past is now', async () => {
    for (const [header, ms] of [
      [new Date(1_768_600_010_000).toUTCString(), 10_000],
      [new Date(1_768_599_000_000).toUTCString(), 0],
      ['99999999999', 2 ** 31 - 1],
      ['soon', undefined],
    ] as const) {
      const page = browser()
      const told = connect(sse, page)
      await page.last().reply(503, {}, { 'retry-after': header })
      expect(told.endings, header).toMatchObject([{ retryAfter: ms }])
    }
  })

  test.each([
    ['too long', JSON.stringify({ detail: 'x'.repeat(70_000) }), 'application/problem+json'],
    ['no JSON', '{"detail"', 'application/problem+json'],
    ['no object', '[1]', 'application/problem+json'],
    ['a page', '<html>', 'text/html'],
  ])('a problem that is %s is left out', async (_, body, type) => {
    const page = browser()
    const told = connect(sse, page)
    await page.last().reply(403, body, { 'content-type': type })
    expect(told.endings).toEqual([{ kind: 'refused', status: 403, problem: undefined, retryAfter: undefined }])
  })

  test('a refusal whose problem never comes is told without it', async () => {
    const page = browser()
    const told = connect(sse, page)
    await page.last().stream({ 'content-type': 'application/problem+json' }, 401)
    await page.last().send('{"detail":')
    expect(told.endings).toEqual([])
    await page.clock.pass(45_000)
    expect(told.endings).toEqual([{ kind: 'refused', status: 401, problem: undefined, retryAfter: undefined }])
  })
})

test.each([
  ['text/html; charset=utf-8', 'text/html'],
  ['text/event-stream-not', 'text/event-stream-not'],
  ['', ''],
])('an answer of %j is another thing than was asked for, and its body is given up', async (header, contentType) => {
  const page = browser()
  const told = connect(sse, page)
  await page.last().stream({ 'content-type': header })
  expect(told).toMatchObject({ opened: 0, endings: [{ kind: 'content-type', contentType }] })
  expect(page.last().canceled || page.last().signal.aborted).toBe(true)
})

test('the content type may have parameters and any case', async () => {
  const page = browser()
  const told = connect(sse, page)
  await page.last().stream({ 'content-type': 'Text/Event-Stream; charset=UTF-8' })
  expect(told).toMatchObject({ opened: 1, endings: [] })
})

describe('what breaks the protocol', () => {
  test.each([
    'event: tidings.gap\ndata: {"reason":\n\n',
    'event: tidings.gap\ndata: {"reason":"trimmed"}\n\n',
    'event: tidings.close\ndata: []\n\n',
    'event: tidings.close\ndata: {"code":"4001"}\n\n',
    'event: tidings.open\ndata: {}\n\n',
  ])('%j ends it, after what came before was handed over', async broken => {
    const page = browser()
    const told = connect(sse, page)
    await page.last().stream()
    await page.last().send(`data: 1\n\n${broken}data: 2\n\n`)
    expect(told.frames()).toMatchObject([{ event: { data: 1 } }])
    expect(told.endings).toEqual([{ kind: 'protocol', message: expect.stringContaining('the hub sent') }])
    expect(page.last().signal.aborted).toBe(true)
  })
})

describe('silence', () => {
  test('an answer that does not come is one, and so is a stream that says nothing', async () => {
    for (const opens of [false, true]) {
      const page = browser()
      const told = connect(sse, page)
      if (opens) await page.last().stream()
      await page.clock.pass(44_999)
      expect(told.endings).toEqual([])
      await page.clock.pass(1)
      expect(told.endings).toEqual([{ kind: 'silence' }])
      expect(page.last().signal.aborted).toBe(true)
    }
  })

  test('any byte breaks it', async () => {
    const page = browser()
    const told = connect(sse, page)
    await page.last().stream()
    for (let beat = 0; beat < 5; beat++) {
      await page.clock.pass(44_000)
      await page.last().send(':')
    }
    expect(told.endings).toEqual([])
  })
})

test('a network that fails is an end, with its cause, before and after the opening', async () => {
  const error = new TypeError('fetch failed')
  for (const opens of [false, true]) {
    const page = browser()
    const told = connect(sse, page)
    if (opens) {
      await page.last().stream()
      await page.last().send('data: 1\n\n')
      await page.last().cut(error)
    } else await page.last().fail(error)
    expect(told.endings).toEqual([{ kind: 'ended', cause: error }])
    expect(page.clock.waiting).toBe(0)
  }
})

test('a credential that can’t be a header is an end, and throws at nobody', async () => {
  const page = browser()
  const told = connect(sse, page, { token: 'sec\nret' })
  await settled()
  const [ending] = told.endings
  const cause = ending?.kind === 'ended' ? ending.cause : undefined
  // A browser's exception would quote it.
  expect(cause).toMatchObject({ message: expect.not.stringContaining('sec') })
  expect((cause as Error).cause).toBeUndefined()
  expect(page.calls).toHaveLength(0)
})

test('an end leaves no listener on the signal of whoever connected, which may live as long as the page', async () => {
  const page = browser()
  const told = connect(sse, page)
  const listeners = new Set<unknown>()
  const { signal } = new AbortController()
  vi.spyOn(signal, 'addEventListener').mockImplementation((_, listener) => void listeners.add(listener))
  vi.spyOn(signal, 'removeEventListener').mockImplementation((_, listener) => void listeners.delete(listener))
  const sink = { opened() {}, frames() {}, ended() {} }
  sse(told.request, sink, page.environment, signal)
  expect(listeners.size).toBe(1)
  await page.last().fail()
  expect(listeners.size).toBe(0)
})

describe.each([true, false])('an abort, where fetch obeys it: %s', obeys => {
  test.each(['before', 'while it is asked', 'while it is refused', 'while it streams', 'in a handler'])(
    '%s, is silent and leaves nothing',
    async when => {
      const page = browser({ obeys })
      const aborted = new AbortController()
      if (when === 'before') aborted.abort()
      const told = { endings: [] as unknown[], batches: [] as unknown[] }
      const sink = {
        opened() {},
        frames(frames: unknown) {
          told.batches.push(frames)
          if (when === 'in a handler') aborted.abort()
        },
        ended: (ending: unknown) => void told.endings.push(ending),
      }
      const request = {
        url: new URL('https://hub.example/v1/events'),
        query: {},
        topics: undefined,
        cursor: undefined,
        token: undefined,
        headers: {},
        credentials: 'same-origin',
        silence: 45_000,
      } as const
      sse(request, sink, page.environment, aborted.signal)
      await settled()
      if (when === 'while it is refused') {
        await page.last().stream({ 'content-type': 'application/json' }, 401)
      } else if (when === 'while it streams' || when === 'in a handler') {
        await page.last().stream()
        await page.last().send('data: 1\n\n')
      }
      aborted.abort()
      await settled()
      if (when === 'while it is asked' && !obeys) await page.last().stream()
      await page.clock.pass(100_000)
      expect(told.endings).toEqual([])
      expect(told.batches).toHaveLength(when === 'while it streams' || when === 'in a handler' ? 1 : 0)
      expect(page.clock.waiting).toBe(0)
      expect(unhandled).toEqual([])
      if (page.calls.length > 0) expect(page.last().canceled || page.last().signal.aborted).toBe(true)
      if (!obeys && when !== 'before' && when !== 'while it is refused') expect(page.last().canceled).toBe(true)
    },
  )
})
