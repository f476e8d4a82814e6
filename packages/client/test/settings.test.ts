import { describe, expect, it } from 'vitest'
import { environmentOf } from '../src/environment.js'
import { settle } from '../src/settings.js'
import type { ClientOptions } from '../src/types.js'
import { world } from './world.js'

const inPage = world({ location: 'https://app.test/deep/page.html?q#h' })
const urlOf = (url: ClientOptions['url'], environment = inPage) => settle({ url }, environment).url

describe('settings', () => {
  it('have the defaults that the types promise', () => {
    expect(settle({}, inPage)).toEqual({
      url: 'https://app.test/',
      paths: { sse: 'v1/events', websocket: 'v1/ws', poll: 'v1/poll', jobs: 'v1/jobs' },
      query: {},
      cursor: undefined,
      transports: ['sse', 'websocket', 'poll'],
      headers: {},
      credentials: 'same-origin',
      backoff: { base: 1_000, cap: 30_000 },
      backgroundGrace: undefined,
      silence: 45_000,
      scope: '',
    })
  })

  it('can be sent to a worker', () => {
    const settings = settle({ token: () => 't', onError: () => {}, query: { a: 'b' } }, inPage)
    expect(structuredClone(settings)).toEqual(settings)
  })

  it.each([
    ['/hub', 'https://app.test/hub/'],
    ['hub', 'https://app.test/deep/hub/'],
    ['https://hub.test', 'https://hub.test/'],
    ['https://hub.test/base?x#y', 'https://hub.test/base/'],
    [new URL('http://hub.test'), 'http://hub.test/'],
  ])('find the hub at %s', (url, base) => expect(urlOf(url)).toBe(base))

  it.each(['ftp://hub.test', 'javascript:alert(1)', 'http://['])('refuse %s as a hub', url => {
    expect(() => urlOf(url)).toThrow(/^the option url has to be /)
  })

  it('need a whole address where there is no page', () => {
    expect(() => urlOf('/hub', world())).toThrow(/a whole address/)
    expect(() => urlOf(undefined, world({ location: 'about:blank' }))).toThrow(/a whole address/)
    expect(urlOf('http://hub.test', world())).toBe('http://hub.test/')
  })

  it('keep the default of what is undefined, and what is not served', () => {
    const { paths } = settle({ paths: { sse: undefined as unknown as string, poll: false } }, inPage)
    expect(paths).toMatchObject({ sse: 'v1/events', poll: false })
  })

  it('keep to the stream of a profile where only that is given: the hub has other namespaces beside it', () => {
    const pathsOf = (paths: ClientOptions['paths']) => settle({ paths }, inPage).paths
    expect(pathsOf({ sse: 'sse' })).toEqual({ sse: 'sse', websocket: false, poll: false, jobs: 'v1/jobs' })
    expect(pathsOf({ sse: 'sse', poll: 'v1/poll' })).toMatchObject({ websocket: false, poll: 'v1/poll' })
    expect(pathsOf({ sse: false })).toMatchObject({ websocket: 'v1/ws', poll: 'v1/poll' })
  })

  it.each([
    { silence: -1 },
    { silence: Number.POSITIVE_INFINITY },
    { backgroundGrace: Number.NaN },
    { backoff: { base: '1s' as unknown as number } },
    { backoff: { cap: 2 ** 31 } },
  ])('refuse %o', options => expect(() => settle(options, inPage)).toThrow(/has to be a number of milliseconds/))
})

describe('the environment', () => {
  it('is what the globals are when they are used', async () => {
    const { fetch, window, document } = environmentOf()
    const before = globalThis.fetch
    globalThis.fetch = async () => new Response('mocked later')
    try {
      expect(await (await fetch('http://x')).text()).toBe('mocked later')
    } finally {
      globalThis.fetch = before
    }
    expect([window, document]).toEqual([undefined, undefined])
  })

  it('can be replaced in part, also by nothing', () => {
    expect(environmentOf({ BroadcastChannel: undefined }).BroadcastChannel).toBeUndefined()
  })
})
