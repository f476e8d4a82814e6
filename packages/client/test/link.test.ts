import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { TidingsError } from '../src/errors.js'
import { explain } from '../src/hints.js'
import { Link } from '../src/link.js'
// Loaded when they are needed; here they are there already, so that nobody waits for them.
import '../src/ending.js'
import '../src/renew.js'
import '../src/transports/probe.js'
import '../src/widen.js'
import { settle } from '../src/settings.js'
import type { Batch } from '../src/source.js'
import type { ClientOptions, Connection, Environment, Token } from '../src/types.js'
import { at, closing, cursor, event, gap, Network, pass, world } from './world.js'

/** A link, the network it is on, and what it says. */
function start(options: ClientOptions = {}, replaced: Partial<Environment> = {}) {
  const network = new Network()
  const environment = world(replaced)
  const said = {
    batches: [] as Batch[],
    connections: [] as Connection[],
    errors: [] as TidingsError[],
    /** For each ask for a credential, whether it was to be a new one. */
    asks: [] as boolean[],
  }
  const tokens: { give: (refresh: boolean) => Promise<Token | undefined> } = { give: async () => undefined }
  const link = new Link(
    settle({ url: 'http://hub.test', ...options }, environment),
    {
      batch: batch => said.batches.push(batch),
      connection: connection => said.connections.push(connection),
      error: error => said.errors.push(error),
      token: refresh => {
        said.asks.push(refresh)
        return tokens.give(refresh)
      },
      loggedOut: () => {},
    },
    environment,
    name => network.transport(name),
  )
  return {
    link,
    network,
    said,
    tokens,
    now: () => said.connections.at(-1),
    codes: () => said.errors.map(({ code }) => code),
    data: () =>
      said.batches.flatMap(({ frames }) => frames.map(frame => (frame.type === 'gap' ? 'gap' : frame.event.data))),
  }
}

/** One that is open at place 10. */
async function opened(options: ClientOptions = {}, replaced: Partial<Environment> = {}) {
  const all = start(options, replaced)
  all.link.want(['book/*'])
  await pass()
  all.network.last.open(cursor(10))
  return all
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('connecting', () => {
  it('asks once for all who want something in one turn', async () => {
    const { link, network } = start()
    link.want(['a'])
    link.want(['a', 'b'])
    await pass()
    expect(network.asked.map(({ request }) => request.topics)).toEqual([['a', 'b']])
  })

  it('asks at the paths, with the query, headers and credential of the options', async () => {
    const { link, network, tokens } = start({
      url: 'https://hub.test/base',
      paths: { sse: 'api/live' },
      query: { libraries: 'l1' },
      headers: { 'x-a': 'b' },
    })
    tokens.give = async () => ({ token: 't1' })
    link.want(undefined)
    await pass()
    expect(network.last.request).toMatchObject({
      url: new URL('https://hub.test/base/api/live'),
      query: { libraries: 'l1' },
      headers: { 'x-a': 'b' },
      token: 't1',
      topics: undefined,
      cursor: undefined,
    })
  })

  it('begins at the cursor of the options', async () => {
    const { link, network } = start({ cursor: 'earliest' })
    link.want(undefined)
    await pass()
    expect(network.last.request.cursor).toBe('earliest')
  })

  it('is open with the first frame over SSE, and not with the head, which a proxy may pass on alone', async () => {
    const { link, network, now } = start()
    link.want(undefined)
    await pass()
    network.last.open()
    expect(now()?.status).toBe('connecting')
    network.last.send(cursor(1))
    expect(now()).toMatchObject({ status: 'open', transport: 'sse', sharing: 'none', attempt: 0 })
  })

  it('is closed where no transport is possible', async () => {
    const { link, now } = start({ transports: ['websocket'] }, { WebSocket: undefined })
    link.want(undefined)
    await pass()
    expect(now()).toMatchObject({ status: 'closed', error: { code: 'refused' } })
  })

  it('leaves no timer behind when it is closed, at whatever moment', async () => {
    const moments: ((all: Awaited<ReturnType<typeof opened>>) => unknown)[] = [
      () => {},
      ({ network }) => network.last.end(),
      ({ link }) => link.want(['other']),
      ({ link }) => link.want(['book/1']),
      ({ link }) => link.visible(false),
      ({ network }) => network.last.refuse(503, 5_000),
      async ({ network }) => {
        network.last.end({ kind: 'content-type', contentType: 'text/html' })
        await pass()
      },
    ]
    for (const reach of moments) {
      const all = await opened({ backgroundGrace: 60_000 })
      await reach(all)
      all.link.close()
      expect(vi.getTimerCount()).toBe(0)
      expect(all.network.live).toEqual([])
      expect(all.now()).toMatchObject({ status: 'closed', error: undefined })
    }
  })
})

describe('reading', () => {
  it('hands on what is new with the places before and after it', async () => {
    const { network, said } = await opened()
    network.last.send(event(11), event(12))
    expect(said.batches.at(-1)).toMatchObject({ from: at(10), to: at(12) })
  })

  it('drops what it has had, and keeps signals, which have no place', async () => {
    const { network, data } = await opened()
    network.last.send(event(11), event(undefined, 'job/1', 'job.progress', 'tick'))
    network.last.send(event(9), event(11), event(undefined, 'job/1', 'job.progress', 'tick'), event(12))
    expect(data()).toEqual([11, 'tick', 'tick', 12])
  })

  it('never takes a place of another epoch for an old one', async () => {
    const { network, said } = await opened()
    network.last.send({
      type: 'gap',
      gap: { reason: 'other-epoch', asked: at(10), resumed: at(0, 'aaaaaaaa'), atMost: undefined },
    })
    expect(said.batches.at(-1)?.to).toBe(at(0, 'aaaaaaaa'))
  })

  it('compares places beyond 2^53', async () => {
    const { network, data } = await opened()
    const place = (offset: string) =>
      ({
        ...event(1),
        event: { name: 'n', topic: 't', data: offset, cursor: `9f3c2a1b-${offset}`, time: undefined },
      }) as never
    network.last.send(place('9007199254740993'), place('9007199254740992'), place('9007199254740994'))
    expect(data()).toEqual(['9007199254740993', '9007199254740994'])
  })

  it('goes on from where a gap says', async () => {
    const { network, said, data } = await opened()
    network.last.send(gap(40), event(41))
    expect(data()).toEqual(['gap', 41])
    network.last.end()
    await pass(1_000)
    expect(network.last.request.cursor).toBe(at(41))
    expect(said.batches.at(-1)).toMatchObject({ from: at(10), to: at(41) })
  })

  it('tells a quiet place without frames, so that whoever shares the connection knows it', async () => {
    const { network, said } = await opened()
    network.last.send(cursor(99))
    expect(said.batches.at(-1)).toEqual({ from: at(10), to: at(99), frames: [] })
  })

  it('hears nothing of a connection that it has given up', async () => {
    const { link, network, data } = await opened()
    const old = network.last
    link.want(['more'])
    await pass(50)
    old.send(event(11))
    old.end()
    expect(data()).toEqual([])
    expect(network.live).toHaveLength(1)
  })
})

describe('coming back', () => {
  it('comes back from its place after a cut', async () => {
    const { network, now } = await opened()
    network.last.send(event(11), event(12))
    network.last.end()
    expect(now()).toMatchObject({ status: 'waiting', attempt: 1, error: { code: 'network', retrying: true } })
    await pass(1_000)
    expect(network.last.request.cursor).toBe(at(12))
  })

  it('is closed where what it is to send is no header: that heals by no retry', async () => {
    const { link, network, now } = start({ transports: ['sse'] })
    link.want(undefined)
    await pass()
    network.last.end({ kind: 'ended', cause: new TidingsError('refused', 'a header is not valid') })
    expect(now()).toMatchObject({ status: 'closed', error: { code: 'refused', retrying: false } })
  })

  it('comes back after silence', async () => {
    const { network, now } = await opened()
    network.last.end({ kind: 'silence' })
    expect(now()).toMatchObject({ status: 'waiting', error: { code: 'silence' } })
  })

  it('waits twice as long after each failure, and anew after success', async () => {
    const { network, said } = await opened({ backoff: { base: 1_000, cap: 5_000 } })
    const delays: number[] = []
    const fail = async () => {
      network.last.end({ kind: 'silence' })
      const delay = (said.connections.at(-1)?.retryAt ?? 0) - Date.now()
      delays.push(delay)
      await pass(delay)
    }
    for (let times = 0; times < 5; times++) await fail()
    network.last.open(cursor(10))
    await pass(5_000)
    await fail()
    expect(delays).toEqual([1_000, 2_000, 4_000, 5_000, 5_000, 1_000])
  })

  it('waits longer and longer for a hub that takes each and ends it at once, and does not call that open', async () => {
    const { link, network, said } = start()
    link.want(undefined)
    await pass()
    const delays: number[] = []
    for (let times = 0; times < 4; times++) {
      network.last.open({ type: 'retry', ms: 100 }, closing(3001, true))
      const delay = (said.connections.at(-1)?.retryAt ?? 0) - Date.now()
      delays.push(delay)
      await pass(delay)
    }
    expect(delays).toEqual([100, 200, 400, 800])
    expect(said.connections.map(({ status }) => status)).not.toContain('open')
  })

  it('waits longer and longer for one that is open for less than 5 s, and anew for one that stays', async () => {
    const { network, now } = await opened()
    const delays: number[] = []
    for (const open of [0, 4_999, 5_000, 0]) {
      await pass(open)
      expect(now()).toMatchObject({ status: 'open', attempt: 0 })
      network.last.end({ kind: 'silence' })
      const delay = (now()?.retryAt ?? 0) - Date.now()
      delays.push(delay)
      await pass(delay)
      network.last.open(cursor(10))
    }
    expect(delays).toEqual([1_000, 2_000, 1_000, 2_000])
  })

  it("takes the hub's `retry:` as the base", async () => {
    const { network, now } = await opened()
    network.last.send({ type: 'retry', ms: 7_000 })
    network.last.end()
    expect(now()?.retryAt).toBe(Date.now() + 7_000)
  })

  it('is not driven into a loop by a `retry:` of 0', async () => {
    const { network, now } = await opened()
    network.last.send({ type: 'retry', ms: 0 })
    network.last.end()
    expect(now()?.retryAt).toBe(Date.now() + 100)
  })

  it('waits at least as long as `Retry-After` says, also when somebody looks', async () => {
    const { link, network, now } = await opened({}, { random: () => 0 })
    network.last.refuse(503, 20_000)
    await pass()
    expect(now()).toMatchObject({
      status: 'waiting',
      retryAt: Date.now() + 20_000,
      error: { code: 'unavailable', status: 503 },
    })
    link.visible(false)
    link.visible(true)
    await pass(19_999)
    expect(network.asked).toHaveLength(1)
    await pass(1)
    expect(network.asked).toHaveLength(2)
  })

  it('waits for the rest of `Retry-After` when it rested in the background meanwhile, and says until when', async () => {
    const { link, network, now } = await opened({ backgroundGrace: 10_000 })
    network.last.refuse(503, 60_000)
    await pass()
    const until = Date.now() + 60_000
    link.visible(false)
    await pass(20_000)
    expect(now()?.retryAt).toBeUndefined()
    link.visible(true)
    expect(now()).toMatchObject({ status: 'waiting', retryAt: until })
    await pass(39_999)
    expect(network.asked).toHaveLength(1)
    await pass(1)
    expect(network.asked).toHaveLength(2)
  })

  it('is not woken within `Retry-After` by a network that is back, but by its user', async () => {
    const { link, network } = await opened()
    network.last.refuse(503, 60_000)
    await pass()
    link.wake(true)
    await pass()
    expect(network.asked).toHaveLength(1)
    link.wake()
    await pass()
    expect(network.asked).toHaveLength(2)
    network.last.end()
    link.wake(true)
    await pass()
    expect(network.asked).toHaveLength(3)
  })

  it.each([404, 410])('comes back after a %i that is no hub’s, if the hub was there before', async status => {
    const { network, now } = await opened()
    network.last.refuse(status)
    await pass()
    expect(now()).toMatchObject({ status: 'waiting', error: { code: 'unavailable', status, retrying: true } })
    const { link, network: other, now: never } = start()
    link.want(undefined)
    await pass()
    other.last.refuse(status)
    await pass()
    expect(never()).toMatchObject({ status: 'closed', error: { code: 'refused', status } })
  })

  it.each([408, 425, 429, 500, 502, 503, 504])('comes back after %i', async status => {
    const { network, now } = await opened()
    network.last.refuse(status)
    await pass()
    expect(now()).toMatchObject({ status: 'waiting', error: { code: 'unavailable', status } })
  })

  it.each([
    [204, 'refused'],
    [400, 'refused'],
    [403, 'forbidden'],
    [404, 'refused'],
    [410, 'refused'],
  ])('is closed by %i, and nothing but `wake` begins anew', async (status, code) => {
    const { link, network, now } = await opened()
    network.last.end({ kind: 'refused', status, problem: { title: 'No' }, retryAfter: undefined })
    await pass()
    expect(now()).toMatchObject({ status: 'closed', error: { code, status, retrying: false } })
    link.visible(false)
    link.visible(true)
    link.want(['other'])
    await pass(3_600_000)
    expect(network.asked).toHaveLength(1)
    link.wake()
    await pass()
    expect(network.asked).toHaveLength(2)
  })

  it('comes back at once when it is woken or seen', async () => {
    const { link, network } = await opened()
    network.last.end()
    link.wake()
    await pass()
    expect(network.asked).toHaveLength(2)
    network.last.end()
    link.visible(false)
    link.visible(true)
    await pass()
    expect(network.asked).toHaveLength(3)
  })

  it('begins an attempt anew that is not answered, nor its credential given, for a second when it is woken', async () => {
    const { link, network, tokens } = start()
    tokens.give = () => new Promise(() => {})
    link.want(undefined)
    await pass(999)
    tokens.give = async () => undefined
    link.wake()
    await pass()
    expect(network.asked).toHaveLength(0)
    await pass(1)
    link.wake(true)
    await pass()
    expect(network.asked).toHaveLength(1)
    await pass(1_000)
    link.wake(true)
    await pass()
    expect(network.asked).toHaveLength(2)
    expect(network.live).toHaveLength(1)
  })

  it('leaves an open connection alone when it is woken', async () => {
    const { link, network } = await opened()
    link.wake()
    await pass()
    expect(network.live).toEqual([network.asked[0]])
  })
})

describe('close reasons', () => {
  it('comes back when the hub asks for it', async () => {
    const { network, now } = await opened()
    network.last.send(closing(3001, true))
    expect(now()).toMatchObject({ status: 'waiting', error: { code: 'unavailable', status: 3001 } })
    await pass(1_000)
    expect(network.asked).toHaveLength(2)
  })

  it.each([
    [4002, 'forbidden'],
    [4003, 'refused'],
    [4007, 'refused'],
  ])('stays away after %i', async (status, code) => {
    const { network, now } = await opened()
    network.last.send(event(11), closing(status, false))
    expect(now()).toMatchObject({ status: 'closed', cursor: at(11), error: { code, status } })
    await pass(3_600_000)
    expect(network.asked).toHaveLength(1)
  })

  it('comes back at once with a new credential when the old one has run out', async () => {
    const { network, said, tokens } = await opened()
    await pass(60_000)
    tokens.give = async () => ({ token: 'new' })
    network.last.send(closing(4001, false))
    await pass()
    expect(said.asks).toEqual([false, true])
    expect(network.last.request.token).toBe('new')
  })

  it('does not come back at once again and again', async () => {
    const { network, now } = await opened()
    network.last.send(closing(4001, false))
    expect(now()).toMatchObject({ status: 'waiting', error: { code: 'unauthorized' } })
  })
})

describe('credentials', () => {
  it('asks for another once after a 401, then is closed', async () => {
    const { link, network, said, now } = start()
    link.want(undefined)
    await pass()
    network.last.refuse(401)
    await pass()
    expect(said.asks).toEqual([false, true])
    network.last.refuse(401)
    await pass()
    expect(now()).toMatchObject({ status: 'closed', error: { code: 'unauthorized', retrying: false } })
  })

  it('asks again after a 401 in mid-life: what was good for a while may run out again', async () => {
    const { network, said } = await opened()
    for (let times = 1; times <= 3; times++) {
      network.last.end()
      await pass(1_000)
      network.last.refuse(401)
      await pass()
      network.last.open(cursor(10 + times))
      await pass(5_000)
    }
    expect(said.asks.filter(refresh => refresh)).toHaveLength(3)
  })

  it('waits, and asks again, when the provider fails', async () => {
    const { link, network, tokens, now } = start()
    tokens.give = async () => {
      throw new Error('the login server is down')
    }
    link.want(undefined)
    await pass()
    expect(now()).toMatchObject({ status: 'waiting', error: { code: 'token', retrying: true } })
    tokens.give = async () => ({ token: 't' })
    await pass(1_000)
    expect(network.last.request.token).toBe('t')
  })

  it('changes over to the next credential before the old one runs out, without a break', async () => {
    const { link, network, tokens, said } = start()
    tokens.give = async refresh => ({ token: refresh ? 'second' : 'first', expires: Date.now() + 600_000 })
    link.want(undefined)
    await pass()
    network.last.open(cursor(10))
    await pass(569_999)
    expect(said.asks).toEqual([false])
    let give: (token: Token) => void = () => {}
    tokens.give = () =>
      new Promise(resolve => {
        give = resolve
      })
    await pass(1)
    // It is still heard while the next one is asked for.
    network.last.send(event(11))
    tokens.give = async () => ({ token: 'second' })
    give({ token: 'second' })
    await pass()
    expect(network.last.request).toMatchObject({ token: 'second', cursor: at(11) })
    expect(network.live).toHaveLength(1)
  })

  it('keeps the connection, and asks again, when there is no next credential yet', async () => {
    const { link, network, tokens, codes, now } = start()
    tokens.give = async () => ({ token: 'first', expires: Date.now() + 60_000 })
    link.want(undefined)
    await pass()
    network.last.open(cursor(10))
    tokens.give = async () => {
      throw new Error('down')
    }
    await pass(54_000)
    expect(codes()).toEqual(['token'])
    expect(now()?.status).toBe('open')
    tokens.give = async () => ({ token: 'second' })
    await pass(1_000)
    expect(network.last.request.token).toBe('second')
  })

  it('are not asked for without pause when they last for months, which no timer can wait', async () => {
    const { link, network, tokens, said } = start()
    tokens.give = async () => ({ token: 't', expires: Date.now() + 90 * 86_400_000 })
    link.want(undefined)
    await pass()
    network.last.open(cursor(10))
    await pass(60_000)
    expect(said.asks).toEqual([false])
  })
})

describe('what is wanted', () => {
  it('asks for more from its place on, and once for all changes within 50 ms', async () => {
    const { link, network, now } = await opened()
    network.last.send(event(11))
    link.want(['author/1', 'book/*'])
    expect(now()?.status).toBe('connecting')
    await pass(49)
    link.want(['author/1', 'book/*', 'queue'])
    await pass(50)
    expect(network.asked).toHaveLength(2)
    expect(network.last.request).toMatchObject({ topics: ['author/1', 'book/*', 'queue'], cursor: at(11) })
  })

  it('moves its place no further by a connection that leaves out what is wanted now', async () => {
    const { link, network } = await opened()
    const old = network.last
    link.want(['author/1', 'book/*'])
    old.send(event(12), cursor(20))
    await pass(50)
    expect(network.last.request.cursor).toBe(at(10))
  })

  it('keeps the connection when what is wanted comes already', async () => {
    const { link, network } = await opened()
    link.want(['book/1', 'book/2'])
    await pass(29_999)
    expect(network.asked).toHaveLength(1)
  })

  it('leaves out what is wanted no more after 30 s', async () => {
    const { link, network } = await opened()
    link.want(['book/1'])
    await pass(30_000)
    expect(network.last.request.topics).toEqual(['book/1'])
  })

  it('keeps what is wanted again before it was left out', async () => {
    const { link, network } = await opened()
    link.want(['book/1'])
    await pass(20_000)
    link.want(['book/*'])
    await pass(60_000)
    expect(network.asked).toHaveLength(1)
  })

  it('asks for what is wanted by then when it comes back', async () => {
    const { link, network } = await opened()
    network.last.end()
    link.want(['author/1'])
    await pass(1_000)
    expect(network.asked).toHaveLength(2)
    expect(network.last.request.topics).toEqual(['author/1'])
  })
})

describe('what is much', () => {
  const many = (count: number, of = 'book') => Array.from({ length: count }, (_, n) => `${of}/${n}`)

  it('is asked for by fewer patterns, and what they fit already costs no new connection', async () => {
    const { link, network } = start()
    link.want([...many(300), 'queue'])
    await pass()
    expect(network.last.request.topics).toEqual(['book/*', 'queue'])
    network.last.open(cursor(1))
    link.want([...many(301), 'queue'])
    await pass(60_000)
    expect(network.asked).toHaveLength(1)
  })

  it('is asked for by name again when it is little again', async () => {
    const { link, network } = start()
    link.want(many(300))
    await pass()
    network.last.open(cursor(1))
    link.want(['book/1'])
    await pass(30_000)
    expect(network.last.request.topics).toEqual(['book/1'])
  })

  it.each([
    [413, undefined],
    [414, undefined],
    [431, undefined],
    [400, { type: 'urn:tidings:problem:too-many-topics' }],
    [400, { code: 'too-many-topics' }],
  ])(
    'for whoever answers %i %o is asked for by ever fewer patterns, and in the end as all',
    async (status, problem) => {
      const { link, network, now, said } = start()
      link.want([...many(20), ...many(5, 'author'), 'queue'])
      await pass()
      const refuse = async () => {
        network.last.end({ kind: 'refused', status, problem, retryAfter: undefined })
        await pass()
      }
      await refuse()
      expect(network.last.request.topics).toEqual(['author/*', 'book/*', 'queue'])
      await refuse()
      expect(network.last.request.topics).toBeUndefined()
      await refuse()
      expect(now()?.status).toBe('waiting')
      expect(said.errors.every(({ code, retrying }) => code === 'refused' && retrying)).toBe(true)
    },
  )

  it('is another thing than nothing, which is no wish', async () => {
    const { link, network } = start()
    link.want([])
    await pass()
    expect(network.asked).toEqual([])
  })
})

describe('in the background', () => {
  it('rests after its grace, and goes on where it was', async () => {
    const { link, network, now } = await opened({ backgroundGrace: 60_000 })
    link.visible(false)
    await pass(60_000)
    expect(network.live).toEqual([])
    expect(now()).toMatchObject({ status: 'waiting', retryAt: undefined, error: undefined })
    await pass(3_600_000)
    expect(network.asked).toHaveLength(1)
    link.visible(true)
    await pass()
    expect(network.last.request.cursor).toBe(at(10))
  })

  it('stays when it is seen again within its grace', async () => {
    const { link, network } = await opened({ backgroundGrace: 60_000 })
    link.visible(false)
    await pass(59_999)
    link.visible(true)
    await pass(60_000)
    expect(network.live).toHaveLength(1)
  })

  it('stays for ever without a grace', async () => {
    const { link, network } = await opened()
    link.visible(false)
    await pass(3_600_000)
    expect(network.live).toHaveLength(1)
  })
})

describe('the transport', () => {
  /** The names of those that were asked, in order. */
  const names = (network: Network) => network.asked.map(({ transport }) => transport)
  const explained = (error: TidingsError | undefined) => {
    if (error) explain(error)
    return error?.message
  }

  it('is a worse one when a proxy holds the bytes back', async () => {
    const { link, network, said } = start()
    link.want(undefined)
    await pass()
    network.last.open()
    await pass(5_000)
    expect(names(network)).toEqual(['sse', 'websocket'])
    expect(said.errors[0]).toMatchObject({ code: 'proxy', retrying: true })
    expect(explained(said.errors[0])).toMatch(/proxy_buffering off.*X-Accel-Buffering/)
    expect(network.live).toHaveLength(1)
  })

  /** Somebody is there who answers a poll. */
  const answers = { fetch: async () => new Response('{}') }
  /** Every packet is lost. */
  const swallows = { fetch: () => new Promise<Response>(() => {}) }

  it('is a worse one when a proxy holds back the head as well, but answers a poll', async () => {
    const { link, network, said, codes } = start({}, answers)
    link.want(undefined)
    await pass(10_000)
    await pass()
    expect(names(network)).toEqual(['sse', 'websocket'])
    expect(codes()).toEqual(['proxy'])
    expect(said.errors[0]?.message).toMatch(/holds streams back$/)
    expect(network.live).toHaveLength(1)
  })

  it.each([
    ['is swallowed', swallows, 15_000],
    ['fails', {}, 10_000],
  ])('stays when nobody answers at all, not even a poll, which %s: that is no proxy', async (_, network, ms) => {
    for (const transports of [['sse', 'websocket', 'poll'], ['sse']] as const) {
      const { link, network: asked, codes, now } = start({ transports }, network)
      link.want(undefined)
      await pass(ms)
      await pass()
      expect(codes()).toEqual(['network'])
      expect(now()).toMatchObject({ status: 'waiting', error: { code: 'network', retrying: true } })
      await pass(1_000)
      expect(names(asked)).toEqual(['sse', 'sse'])
      link.close()
      expect(vi.getTimerCount()).toBe(0)
    }
  })

  it('stays when its head comes after all while a poll is asked', async () => {
    let answer: (response: Response) => void = () => {}
    const slow = {
      fetch: () =>
        new Promise<Response>(resolve => {
          answer = resolve
        }),
    }
    const { link, network, codes, now } = start({}, slow)
    link.want(undefined)
    await pass(12_000)
    network.last.open(cursor(1))
    answer(new Response('{}'))
    await pass(60_000)
    expect(names(network)).toEqual(['sse'])
    expect(codes()).toEqual([])
    expect(now()?.status).toBe('open')
  })

  it('learns of a refusal from that poll', async () => {
    const { link, said, now } = start({}, { fetch: async () => Response.json({ title: 'Who?' }, { status: 401 }) })
    link.want(undefined)
    await pass(20_000)
    await pass()
    expect(said.asks).toEqual([false, true])
    expect(now()).toMatchObject({ status: 'closed', error: { code: 'unauthorized', status: 401 } })
  })

  it('stays when attempts hang between short streams: nothing is learned from a network that is away', async () => {
    const { network } = await opened({}, swallows)
    for (let times = 0; times < 4; times++) {
      network.last.end()
      await pass(1_000)
      await pass(15_000)
      await pass(2_000)
      network.last.open(cursor(10))
      await pass(6_000)
    }
    expect(new Set(names(network))).toEqual(new Set(['sse']))
  })

  it('stays when it is the last, however late its bytes come', async () => {
    const { link, network, codes, now } = start({ transports: ['sse'] })
    link.want(undefined)
    await pass()
    network.last.open()
    await pass(5_000)
    expect(codes()).toEqual(['proxy'])
    expect(now()?.status).toBe('open')
    expect(network.live).toHaveLength(1)
  })

  it('is a worse one after three short streams in a row, and the error names the knobs', async () => {
    const { network, said } = await opened()
    for (let times = 1; times <= 3; times++) {
      await pass(19_000)
      network.last.end()
      await pass(2_000)
      network.last.open(cursor(10))
    }
    await pass()
    expect(names(network)).toEqual(['sse', 'sse', 'sse', 'sse', 'websocket'])
    expect(said.errors.map(({ code }) => code)).toEqual(['network', 'network', 'network', 'proxy'])
    expect(explained(said.errors.at(-1))).toMatch(/proxy_read_timeout.*Traefik.*Caddy/)
  })

  it.each([
    [
      'lasted',
      async (network: Network) => {
        await pass(20_000)
        network.last.end()
      },
    ],
    ['had a reason', async (network: Network) => network.last.send(closing(3001, true))],
  ])('stays when a stream between them %s', async (_, between) => {
    const { network } = await opened()
    const again = async (end: () => unknown) => {
      await end()
      await pass(2_000)
      network.last.open(cursor(10))
    }
    const cut = () => network.last.end()
    for (const end of [cut, cut, () => between(network), cut, cut]) await again(end)
    expect(new Set(names(network))).toEqual(new Set(['sse']))
  })

  it('stays when the server was down in between: that is no proxy', async () => {
    const { network } = await opened()
    for (let times = 0; times < 3; times++) {
      network.last.end()
      await pass(1_000)
      network.last.end({ kind: 'ended', cause: new TypeError('Failed to fetch') })
      await pass(2_000)
      network.last.open(cursor(10))
    }
    expect(new Set(names(network))).toEqual(new Set(['sse']))
  })

  it.each([
    { kind: 'content-type', contentType: 'text/html' },
    { kind: 'protocol', message: 'no JSON' },
  ] as const)('is a worse one after $kind, and the last one stays', async ending => {
    const { link, network, codes, now } = start()
    link.want(undefined)
    await pass()
    for (let times = 0; times < 3; times++) {
      network.last.end(ending)
      await pass()
    }
    expect(names(network)).toEqual(['sse', 'websocket', 'poll'])
    expect(codes()).toEqual([ending.kind, ending.kind, ending.kind])
    expect(now()?.status).toBe('waiting')
    await pass(1_000)
    expect(names(network).at(-1)).toBe('poll')
  })

  it('stays when the server was down or the network away after one of the cuts', async () => {
    const { network } = await opened()
    const cut = async () => {
      await pass(5_000)
      network.last.end()
      await pass(2_000)
    }
    const crash = async () => {
      await cut()
      network.last.end({ kind: 'ended', cause: new TypeError('Failed to fetch') })
      await pass(4_000)
    }
    for (const end of [cut, cut, crash, cut, cut, crash, cut, crash]) {
      await end()
      network.last.open(cursor(10))
      await pass()
    }
    expect(new Set(names(network))).toEqual(new Set(['sse']))
  })

  it('is a worse one after one WebSocket handshake that hangs for 5 s, while a poll is answered', async () => {
    const { link, network, codes } = start({ transports: ['websocket', 'poll'] }, answers)
    link.want(undefined)
    await pass(4_999)
    expect(names(network)).toEqual(['websocket'])
    await pass(1)
    await pass()
    expect(names(network)).toEqual(['websocket', 'poll'])
    expect(codes()).toEqual(['proxy'])
  })

  it('stays when a WebSocket fails because the network does', async () => {
    const { link, network } = start({ transports: ['websocket', 'poll'] })
    link.want(undefined)
    await pass()
    for (let times = 0; times < 3; times++) {
      network.last.end({ kind: 'ended', cause: new TypeError('Failed to fetch') })
      await pass(1_000 * 2 ** times)
    }
    expect(names(network)).toEqual(['websocket', 'websocket', 'websocket', 'websocket'])
  })

  it('is a worse one when no WebSocket is let through, twice', async () => {
    const { link, network, codes } = start({ transports: ['websocket', 'poll'] })
    link.want(undefined)
    await pass()
    const blocked = { kind: 'ended', cause: new Error('answered 200'), isBlocked: true } as const
    network.last.end(blocked)
    await pass(1_000)
    network.last.end(blocked)
    await pass()
    expect(names(network)).toEqual(['websocket', 'websocket', 'poll'])
    expect(codes()).toEqual(['network', 'proxy'])
  })

  it('skips what is not served, or not possible here', async () => {
    const { link, network } = start({ paths: { sse: false } }, { WebSocket: undefined })
    link.want(undefined)
    await pass()
    expect(names(network)).toEqual(['poll'])
  })

  it('is the better one again after 10 minutes, from its place on, and after twice as long the next time', async () => {
    const { network } = await opened()
    const spoil = async () => {
      network.last.end({ kind: 'content-type', contentType: 'text/html' })
      await pass()
      network.last.open(cursor(20))
    }
    await spoil()
    await pass(600_000)
    expect(names(network)).toEqual(['sse', 'websocket', 'sse'])
    expect(network.last.request.cursor).toBe(at(20))
    await spoil()
    await pass(1_199_999)
    expect(names(network).at(-1)).toBe('websocket')
    await pass(1)
    expect(names(network).at(-1)).toBe('sse')
  })

  it('is the better one again when it is woken', async () => {
    const { link, network } = await opened()
    network.last.end({ kind: 'content-type', contentType: 'text/html' })
    await pass()
    network.last.open(cursor(20))
    link.wake()
    await pass()
    expect(names(network)).toEqual(['sse', 'websocket', 'sse'])
    expect(network.live).toHaveLength(1)
  })
})
