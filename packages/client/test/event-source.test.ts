import { beforeEach, describe, expect, expectTypeOf, test } from 'vitest'
import { EventSource, type EventSourceOptions, StreamErrorEvent, type TidingsError } from '../src/event-source.js'
// Fetched when there is a provider; here it is there already, so that nobody waits for it.
import '../src/provider.js'
import { browser, settled } from './transports.harness.js'

/** A page that is looked at, or not, and a network that comes and goes. */
function page({ location = 'https://hub.example/page' } = {}) {
  const base = browser({ location })
  const window = new EventTarget()
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' as DocumentVisibilityState })
  const environment = { ...base.environment, window, document }
  return { ...base, environment, window, document }
}

type Page = ReturnType<typeof page>
const sources: EventSource[] = []

function open(at: Page, options: EventSourceOptions = {}, url = '/sse') {
  const source = new EventSource(url, { environment: at.environment, ...options })
  sources.push(source)
  const told: unknown[][] = []
  for (const name of ['open', 'message', 'error', 'medias', 'tidings.close']) {
    source.addEventListener(name, event => {
      if (event instanceof StreamErrorEvent) told.push([name, source.readyState, event.status, event.error.code])
      else if (event instanceof MessageEvent) told.push([name, event.data, event.lastEventId])
      else told.push([name, source.readyState])
    })
  }
  return { source, told }
}

async function opened(options: EventSourceOptions = {}, at = page()) {
  const { source, told } = open(at, options)
  await settled()
  await at.last().stream()
  told.length = 0
  return { at, source, told }
}

beforeEach(() => {
  for (const source of sources.splice(0)) source.close()
})

test('it has the shape of the browser’s own', () => {
  expectTypeOf<EventSource>().toExtend<globalThis.EventSource>()
  expect([EventSource.CONNECTING, EventSource.OPEN, EventSource.CLOSED]).toEqual([0, 1, 2])
  const { source } = open(page(), { withCredentials: true }, '../sse?a=1#f')
  expect([source.CONNECTING, source.OPEN, source.CLOSED]).toEqual([0, 1, 2])
  expect(source).toBeInstanceOf(EventTarget)
  expect(source).toMatchObject({ url: 'https://hub.example/sse?a=1#f', readyState: 0, withCredentials: true })
  expect([source.onopen, source.onmessage, source.onerror]).toEqual([null, null, null])
  expect(() => new EventSource('http://[')).toThrow(expect.objectContaining({ name: 'SyntaxError' }))
  expect(() => open(page({ location: '' }), {}, '/sse')).toThrow(DOMException)
})

test('it asks as a browser does, with headers and a credential if it has them', async () => {
  const at = page()
  open(at, { withCredentials: true, headers: { 'X-Api-Key': 'k' }, token: 'secret', lastEventId: 'ü-1' })
  await settled()
  const { url, init, headers } = at.last()
  expect(url.href).toBe('https://hub.example/sse')
  expect(init).toMatchObject({ credentials: 'include', cache: 'no-store' })
  expect(headers.get('accept')).toBe('text/event-stream')
  expect(headers.get('x-api-key')).toBe('k')
  expect(headers.get('authorization')).toBe('Bearer secret')
  expect(Buffer.from(headers.get('last-event-id') ?? '', 'latin1').toString()).toBe('ü-1')
})

test('events are dispatched by their name, with their data as text, the last id and the origin', async () => {
  const { at, source, told } = await opened()
  const origins: string[] = []
  source.onmessage = event => origins.push(event.origin)
  expect(source.readyState).toBe(1)
  await at
    .last()
    .send('data: {"a":1}\nid: 1\n\n', 'event: medias\ndata: 2\n\n', 'id: 3\n\n', 'data: x\n\n', ': beat\n\n')
  expect(told).toEqual([
    ['message', '{"a":1}', '1'],
    ['medias', '2', '1'],
    ['message', 'x', '3'],
  ])
  expect(origins).toEqual(['https://hub.example', 'https://hub.example'])
})

test('a server’s events named error and open are messages, as in browsers, and change nothing', async () => {
  const { at, source, told } = await opened()
  const heard: unknown[] = []
  source.onerror = event => heard.push((event as MessageEvent).data)
  await at.last().send('event: error\ndata: job_not_found\n\nevent: open\ndata: 1\n\n')
  expect(heard).toEqual(['job_not_found'])
  expect(told).toEqual([
    ['error', 'job_not_found', ''],
    ['open', '1', ''],
  ])
  expect(source.readyState).toBe(1)
})

describe('listeners', () => {
  test('may be functions or objects, once, with a signal, and are removed', async () => {
    const { at, source } = await opened()
    const heard: string[] = []
    const stop = new AbortController()
    const removed = () => heard.push('removed')
    source.addEventListener('message', { handleEvent: () => heard.push('object') })
    source.addEventListener('message', () => heard.push('once'), { once: true })
    source.addEventListener('message', () => heard.push('signal'), { signal: stop.signal })
    source.addEventListener('message', removed)
    source.removeEventListener('message', removed)
    await at.last().send('data: 1\n\n')
    stop.abort()
    await at.last().send('data: 2\n\n')
    expect(heard).toEqual(['object', 'once', 'signal', 'object'])
  })

  test('a handler has the source as this, keeps its place when it is replaced, and is taken off by null', async () => {
    const { at, source } = await opened()
    const heard: unknown[] = []
    source.onmessage = () => heard.push('old')
    source.addEventListener('message', () => heard.push('listener'))
    source.onmessage = function () {
      heard.push(this === source)
    }
    await at.last().send('data: 1\n\n')
    expect(source.onmessage).toBeInstanceOf(Function)
    source.onmessage = null
    expect(source.onmessage).toBe(null)
    await at.last().send('data: 2\n\n')
    expect(heard).toEqual([true, 'listener', 'listener'])
  })

  test('close in a listener is the last that is told, also of what came together', async () => {
    const { at, source, told } = await opened()
    source.addEventListener('medias', () => source.close())
    await at.last().send('event: medias\ndata: 1\n\nevent: medias\ndata: 2\n\n')
    expect(told).toEqual([['medias', '1', '']])
    expect(source.readyState).toBe(2)
    expect(at.last().signal.aborted).toBe(true)
    await at.clock.pass(100_000)
    expect([told.length, at.calls.length, at.clock.waiting]).toEqual([1, 1, 0])
  })
})

describe('coming back', () => {
  test('after an end and a cut it goes on from the last id, in random times that double around retry', async () => {
    const { at, source, told } = await opened()
    await at.last().send('retry: 2000\ndata: 1\nid: 9f3c2a1b-1\n\n')
    await at.last().end()
    expect(source.readyState).toBe(0)
    expect(told.at(-1)).toEqual(['error', 0, undefined, 'network'])
    // The random number of these tests is a half.
    for (const [attempt, delay] of [1_000, 2_000, 4_000, 8_000, 15_000, 15_000].entries()) {
      await at.clock.pass(delay - 1)
      expect(at.calls).toHaveLength(1 + attempt)
      await at.clock.pass(1)
      expect(at.calls).toHaveLength(2 + attempt)
      expect(at.last().headers.get('last-event-id')).toBe('9f3c2a1b-1')
      await at.last().fail()
    }
    await at.clock.pass(15_000)
    await at.last().stream()
    expect(told.at(-1)).toEqual(['open', 1])
    await at.last().cut()
    await at.clock.pass(1_000)
    expect(at.calls).toHaveLength(9)
  })

  test('not without pause when the server says `retry: 0`', async () => {
    const { at } = await opened()
    await at.last().send('retry: 0\n\n')
    await at.last().cut()
    await at.clock.pass(49)
    expect(at.calls).toHaveLength(1)
    await at.clock.pass(1)
    expect(at.calls).toHaveLength(2)
  })

  test.each([408, 425, 429, 500, 502, 503, 504])('after %i, not before Retry-After is over', async status => {
    const at = page()
    const { source, told } = open(at)
    await settled()
    await at.last().reply(status, { detail: 'Later.' }, { 'retry-after': '60' })
    expect(told).toEqual([['error', 0, status, 'unavailable']])
    at.window.dispatchEvent(new Event('online'))
    await at.clock.pass(59_999)
    expect(at.calls).toHaveLength(1)
    await at.clock.pass(1_000)
    expect(at.calls).toHaveLength(2)
    expect(source.readyState).toBe(0)
  })

  test.each(['online', 'visible'])('at once when it is %s again, and once', async what => {
    const { at } = await opened()
    const back = () =>
      what === 'online'
        ? at.window.dispatchEvent(new Event('online'))
        : at.document.dispatchEvent(new Event('visibilitychange'))
    back()
    expect(at.calls).toHaveLength(1)
    await at.last().cut()
    if (what === 'visible') {
      at.document.visibilityState = 'hidden'
      back()
      await settled()
      expect(at.calls).toHaveLength(1)
      at.document.visibilityState = 'visible'
    }
    back()
    back()
    await settled()
    expect(at.calls).toHaveLength(2)
    await at.last().stream()
    await at.clock.pass(100_000)
    expect(at.calls).toHaveLength(2)
  })

  test('silence is the end of a connection only where the option says so', async () => {
    const quiet = await opened({ silence: 10_000 })
    await quiet.at.clock.pass(10_000)
    expect(quiet.told).toEqual([['error', 0, undefined, 'silence']])
    const patient = await opened()
    await patient.at.clock.pass(100_000_000)
    expect(patient.told).toEqual([])
  })
})

describe('staying away', () => {
  test('tells nobody a credential that is no header', async () => {
    for (const options of [{ token: 'secret\n1' }, { headers: { 'x-key': 'secret\n1' } }]) {
      const at = page()
      const { source } = open(at, options)
      let error: TidingsError | undefined
      source.onerror = event => {
        error = (event as StreamErrorEvent).error
      }
      await settled()
      expect(error).toMatchObject({ code: 'refused' })
      expect([error?.cause, error?.message.includes('secret')]).toEqual([undefined, false])
    }
  })

  test.each([
    [204, 'refused'],
    [400, 'refused'],
    [401, 'unauthorized'],
    [403, 'forbidden'],
    [404, 'refused'],
    [410, 'refused'],
  ])('after %i it is closed, and says why', async (status, code) => {
    const at = page()
    const { source, told } = open(at)
    let problem: unknown
    source.onerror = event => {
      problem = (event as StreamErrorEvent).error
    }
    await settled()
    await at.last().reply(status, status === 204 ? null : { detail: 'No.' })
    await at.clock.pass(100_000)
    expect(told).toEqual([['error', 2, status, code]])
    expect(problem).toMatchObject({ status, retrying: false, ...(status !== 204 && { problem: { detail: 'No.' } }) })
    expect(at.calls).toHaveLength(1)
    expect(at.clock.waiting).toBe(0)
  })

  test('an answer that is no event stream closes it', async () => {
    const at = page()
    const { told } = open(at)
    await settled()
    await at.last().reply(200, '<html>')
    expect(told).toEqual([['error', 2, undefined, 'content-type']])
  })

  test('tidings.close says whether to come back, and is told as the event that it is', async () => {
    for (const [code, reconnect, last] of [
      [4002, false, ['error', 2, 4002, 'forbidden']],
      [3001, true, ['error', 0, 3001, 'unavailable']],
    ] as const) {
      const { at, told } = await opened()
      const data = JSON.stringify({ code, reason: 'r', message: 'm', reconnect })
      await at.last().send(`event: tidings.close\ndata: ${data}\n\n`)
      await at.last().end()
      expect(told).toEqual([['tidings.close', data, ''], last])
      await at.clock.pass(100_000)
      expect(at.calls).toHaveLength(reconnect ? 2 : 1)
    }
  })

  test('an event of that name that is none of the hub’s means nothing', async () => {
    const { at, told } = await opened()
    await at.last().send('event: tidings.close\ndata: bye\n\n')
    await at.last().end()
    expect(told).toEqual([
      ['tidings.close', 'bye', ''],
      ['error', 0, undefined, 'network'],
    ])
  })
})

describe('a credential that is provided', () => {
  test('is asked for anew when it was refused, and the new one is tried at once', async () => {
    const at = page()
    let asked = 0
    const { told } = open(at, { token: () => `token-${++asked}` })
    await settled()
    await at.last().reply(401, {})
    await at.clock.pass(0)
    expect(at.last().headers.get('authorization')).toBe('Bearer token-2')
    await at.last().stream()
    expect(told).toEqual([
      ['error', 0, 401, 'unauthorized'],
      ['open', 1],
    ])
  })

  test('is given up when the new one is refused too', async () => {
    const at = page()
    const { told } = open(at, { token: () => 'token' })
    await settled()
    await at.last().reply(401, {})
    await at.clock.pass(0)
    await at.last().reply(401, {})
    await at.clock.pass(100_000)
    expect(told.at(-1)).toEqual(['error', 2, 401, 'unauthorized'])
    expect(at.calls).toHaveLength(2)
  })

  test('that can’t be had is tried again later', async () => {
    const at = page()
    let fails = true
    const { told } = open(at, {
      token: async () => {
        if (fails) throw new Error('no network')
        return 'token'
      },
    })
    await settled()
    expect(told).toEqual([['error', 0, undefined, 'token']])
    fails = false
    await at.clock.pass(500)
    expect(at.last().headers.get('authorization')).toBe('Bearer token')
  })
})

test('close before anything has come tells nothing and leaves nothing', async () => {
  const at = page()
  const { source, told } = open(at)
  source.close()
  await at.clock.pass(100_000)
  expect([told, source.readyState, at.calls.length, at.clock.waiting]).toEqual([[], 2, 0, 0])
})
