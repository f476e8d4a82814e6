import { afterEach, beforeEach, describe, expect, expectTypeOf, it, vi } from 'vitest'
import { clientOver } from '../src/client.js'
import { TidingsError } from '../src/errors.js'
import { createClient } from '../src/index.js'
import { sharedOr } from '../src/open.js'
import type { Batch, OpenSource, Settings, Source, SourceSink } from '../src/source.js'
import type { AnyEvent, ClientOptions, Connection, Environment, LiveEvent } from '../src/types.js'
import { at, event, gap, Page, pass, world } from './world.js'
// Loaded when it is needed; here it is there already, so that nobody waits for it.
import '../src/position.js'

/** A source that a test plays. */
class Played implements Source {
  readonly settings: Settings
  readonly sink: SourceSink
  readonly calls: string[] = []
  #at: string | undefined

  constructor(settings: Settings, sink: SourceSink) {
    this.settings = settings
    this.sink = sink
  }

  want(topics: readonly string[] | undefined): void {
    this.calls.push(`want ${topics ?? 'all'}`)
  }
  wake(patient = false): void {
    this.calls.push(patient ? 'wake in time' : 'wake')
  }
  visible(visible: boolean): void {
    this.calls.push(visible ? 'visible' : 'hidden')
  }
  close(logout: boolean): void {
    this.calls.push(logout ? 'logout' : 'close')
  }

  is(status: Connection['status'], more: Partial<Connection> = {}): void {
    const plain = {
      transport: undefined,
      sharing: 'none',
      cursor: this.#at,
      attempt: 0,
      retryAt: undefined,
      error: undefined,
    } as const
    this.sink.connection({ ...plain, status, ...more })
  }

  tell(to: number | undefined, ...frames: Batch['frames'][number][]): void {
    const from = this.#at
    this.#at = to === undefined ? from : at(to)
    this.sink.batch({ from, to: this.#at, frames })
  }
}

interface Events {
  'book.updated': { readonly id: number }
  'book.deleted': { readonly id: number; readonly by: string }
}

function start(options: ClientOptions = {}, environment: Environment = world()) {
  const sources: Played[] = []
  const errors: TidingsError[] = []
  const open: OpenSource = (settings, sink) => {
    const source = new Played(settings, sink)
    sources.push(source)
    return source
  }
  const client = clientOver<Events>(
    { url: 'http://hub.test', onError: error => errors.push(error), ...options, environment },
    open,
  )
  const source = () => {
    const last = sources.at(-1)
    if (!last) throw new Error('nothing was opened')
    return last
  }
  return { client, sources, source, errors }
}

/** A frame of the source: an event, named so. */
const book = (offset: number, topic = 'book/1', name = 'book.updated') =>
  event(offset, topic, name, { id: offset }) as Batch['frames'][number]
const gapTo = (offset: number) => gap(offset) as Batch['frames'][number]

const places = (events: readonly LiveEvent[]) => events.map(({ cursor }) => Number(cursor?.split('-')[1]))

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('a client', () => {
  it('asks for nothing before the first subscription, and keeps the connection after the last', () => {
    const { client, sources, source } = start()
    expect(sources).toHaveLength(0)
    expect(client.connection.status).toBe('connecting')
    client.subscribe({ topics: ['a'] }).unsubscribe()
    expect(source().calls).toEqual(['want a'])
  })

  it('wants what all who listen want together, and says it once for all who come in one turn', async () => {
    const { client, source } = start({ topics: ['queue'] })
    client.subscribe({ topics: ['book/1'] })
    client.subscribe({ topics: ['book/*'] })
    client.subscribe({ topics: ['book/2'] })
    await pass()
    const off = client.on('book.updated', () => {})
    await pass()
    off()
    await pass()
    expect(source().calls).toEqual(['want book/1', 'want book/*', 'want book/*,queue', 'want book/*'])
  })

  it('compares little for a thousand who come, and go', async () => {
    const { client, source } = start()
    const split = vi.spyOn(String.prototype, 'split')
    const all = Array.from({ length: 1_000 }, (_, n) => client.subscribe({ topics: [`book/${n}`, 'author/*'] }))
    await pass()
    for (const one of all.slice(1)) one.unsubscribe()
    await pass()
    // A pattern is taken apart where it could be covered by another; each with each would be a million times, for each who comes.
    expect(split.mock.calls.length).toBeLessThan(10_000)
    split.mockRestore()
    expect(source().calls).toHaveLength(3)
    expect(source().calls.at(-1)).toBe('want author/*,book/0')
  })

  it('wants nothing for who wants no topic at all', () => {
    const { client, sources } = start()
    client.subscribe({ topics: [] })
    expect(sources).toHaveLength(0)
  })

  it('is typed by its events', () => {
    const { client } = start()
    client.on('book.deleted', ({ data }) =>
      expectTypeOf(data).toEqualTypeOf<{ readonly id: number; readonly by: string }>(),
    )
    client.on(['book.updated', 'book.deleted'], live => {
      if (live.name === 'book.deleted') expectTypeOf(live.data.by).toBeString()
    })
    client.subscribe({
      names: ['book.updated'],
      onBatch: ([live]) => expectTypeOf(live?.data.id).toEqualTypeOf<number | undefined>(),
    })
    expectTypeOf(client.latest('book.updated')?.data.id).toEqualTypeOf<number | undefined>()
  })

  it('has no event without data for a name that is optional in the map', () => {
    expectTypeOf<AnyEvent<{ a?: string }>>().toEqualTypeOf<LiveEvent<'a', string>>()
  })

  it('names an option that can not be meant', () => {
    expect(() => createClient({ url: 'ftp://x' })).toThrow(/the option url .*ftp:/)
    expect(() => createClient({ url: 'http://x', silence: Number.NaN })).toThrow(/the option silence/)
    expect(() => createClient({ url: 'http://x', backoff: { base: -1 } })).toThrow(/the option base/)
  })

  it.each([undefined, '/live', 'live'])(
    'can be made on a server that draws a page with the url %s, and says what is missing only when it is to connect',
    url => {
      const { client, errors } = start({ url })
      client.subscribe({})
      expect(client.connection).toMatchObject({ status: 'closed', error: { code: 'refused' } })
      expect(errors).toHaveLength(1)
    },
  )
})

describe('listeners', () => {
  it('hear the names and topics they asked for, in order, and each burst once more as a whole', () => {
    const { client, source } = start()
    const heard: string[] = []
    client.subscribe({
      topics: ['book/*'],
      names: ['book.updated'],
      onEvent: ({ topic }) => heard.push(topic),
      onBatch: events => heard.push(`${events.length}`),
    })
    source().tell(4, book(1, 'book/1'), book(2, 'author/1'), book(3, 'book/2', 'book.deleted'), book(4, 'book/3'))
    source().tell(5, book(5, 'author/1'))
    expect(heard).toEqual(['book/1', 'book/3', '2'])
  })

  it('hear all events of a mount that does not tell topics', () => {
    const { client, source } = start()
    const heard = vi.fn()
    client.subscribe({ topics: ['book/1'], onEvent: heard })
    source().tell(1, book(1, ''))
    expect(heard).toHaveBeenCalledOnce()
  })

  it('hear of a gap between what came before and after it', () => {
    const { client, source } = start()
    const heard: string[] = []
    client.subscribe({
      topics: ['book/1'],
      onBatch: events => heard.push(places(events).join()),
      onGap: () => heard.push('gap'),
    })
    client.onGap(({ resumed }) => heard.push(`any gap ${resumed}`))
    source().tell(9, book(1), gapTo(8), book(9))
    expect(heard).toEqual(['1', 'gap', `any gap ${at(8)}`, '9'])
  })

  it('hear a state once, however often it is given, until it is another', () => {
    const { client, source } = start()
    const heard: unknown[] = []
    const late: unknown[] = []
    const hear = (to: unknown[]) => (live: LiveEvent) => to.push(live.data)
    const state = (data: unknown, time: number | false = 1, topic = 'book/1', place?: number) => {
      const cursor = place === undefined ? undefined : at(place)
      return { type: 'event', event: { name: 'book.updated', topic, data, time: time || undefined, cursor } } as const
    }
    const subscription = client.subscribe({ onEvent: hear(heard) })
    source().tell(1, state({ n: 1 }), state({ n: 1 }, 1, 'book/2'))
    source().tell(1, state({ n: 1 }), state({ n: 1 }, 1, 'book/2'))
    expect(heard).toHaveLength(2)
    client.subscribe({ onEvent: hear(late) })
    subscription.replace({ onEvent: hear(heard) })
    source().tell(1, state({ n: 1 }))
    expect([heard.length, late.length]).toEqual([2, 1])
    // It happens, and is then given as the present state.
    source().tell(2, state({ n: 2 }, 2, 'book/1', 2))
    source().tell(2, state({ n: 2 }, 2), state({ n: 2 }, 3), state({ n: 3 }, 3))
    expect(heard.slice(2)).toEqual([{ n: 2 }, { n: 2 }, { n: 3 }])
    // Without a time nobody knows whether it is the same.
    source().tell(3, state('tick', false), state('tick', false))
    expect(heard.slice(5)).toEqual(['tick', 'tick'])
  })

  it('that throw are reported, and the rest go on', async () => {
    const { client, source, errors } = start()
    const heard = vi.fn()
    const cause = new Error('no such row')
    client.subscribe({
      onEvent: () => {
        throw cause
      },
      onBatch: () => {
        throw cause
      },
      onGap: () => {
        throw cause
      },
    })
    client.subscribe({
      onEvent: async () => {
        throw cause
      },
    })
    client.onConnection(() => {
      throw cause
    })
    client.subscribe({ onEvent: heard, onGap: heard, onBatch: heard })
    source().is('open')
    source().tell(2, book(1), gapTo(2))
    await pass()
    expect(heard).toHaveBeenCalledTimes(3)
    expect(errors.map(({ code, cause: why }) => [code, why])).toEqual(Array(5).fill(['handler', cause]))
  })

  it('that throw where errors are heard stop nothing either', () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => {})
    const { client, source } = start({
      onError: () => {
        throw new Error('again')
      },
    })
    client.on('book.updated', () => {
      throw new Error('first')
    })
    source().tell(1, book(1))
    expect(said).toHaveBeenCalledOnce()
    expect(client.latest('book.updated')).toBeDefined()
  })

  it('are told on the console where nobody hears errors: what heals as a warning', () => {
    const warned = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const { client, source } = start({ onError: undefined })
    client.on('book.updated', () => {
      throw new Error('first')
    })
    source().tell(1, book(1))
    expect(warned).toHaveBeenCalledOnce()
  })

  it('that come during a batch hear the next one; those that leave hear no more of it', () => {
    const { client, source } = start()
    const late: number[] = []
    const left: number[] = []
    let second: (() => void) | undefined
    client.on('book.updated', () => {
      if (late.length === 0 && !second) client.subscribe({ onBatch: events => late.push(...places(events)) })
      second?.()
    })
    second = client.on('book.updated', live => left.push(...places([live])))
    second()
    second = undefined
    const leaving = client.subscribe({ onEvent: live => left.push(...places([live])), onBatch: () => left.push(-1) })
    client.on('book.updated', () => leaving.unsubscribe())
    source().tell(2, book(1), book(2))
    source().tell(3, book(3))
    expect(late).toEqual([3, 3])
    expect(left).toEqual([1])
  })

  it('that want something else hear the batch that is told to its end, and miss and double nothing', () => {
    const { client, source } = start()
    const heard: string[] = []
    const first = (live: LiveEvent) => {
      heard.push(`first ${places([live])}`)
      if (heard.length === 1) subscription.replace({ topics: ['book/*'], onEvent: second })
    }
    const second = (live: LiveEvent) => heard.push(`second ${places([live])}`)
    const subscription = client.subscribe({ topics: ['book/*'], onEvent: first })
    source().tell(2, book(1), book(2))
    source().tell(3, book(3))
    expect(heard).toEqual(['first 1', 'first 2', 'second 3'])
    expect(source().calls).toEqual(['want book/*'])
  })

  it('leave by their signal, also by that of what took their place', () => {
    const { client, source } = start()
    const heard = vi.fn()
    const [one, other] = [new AbortController(), new AbortController()]
    client.subscribe({ signal: AbortSignal.abort(), onEvent: heard })
    const subscription = client.subscribe({ signal: one.signal, onEvent: heard })
    subscription.replace({ signal: other.signal, onEvent: heard })
    one.abort()
    source().tell(1, book(1))
    other.abort()
    source().tell(2, book(2))
    subscription.replace({ onEvent: heard })
    source().tell(3, book(3))
    expect(heard).toHaveBeenCalledOnce()
  })
})

describe('the newest events', () => {
  it('are known by name, and by name and topic', () => {
    const { client, source } = start()
    client.subscribe({})
    source().tell(3, book(1, 'book/1'), book(2, 'book/2'), book(3, 'book/1', 'book.deleted'))
    expect(client.latest('book.updated')?.topic).toBe('book/2')
    expect(client.latest('book.updated', 'book/1')?.data.id).toBe(1)
    expect(client.latest('book.updated', 'book/9')).toBeUndefined()
  })

  it('are known to who hears of them', () => {
    const { client, source } = start()
    let known: unknown
    client.on('book.updated', () => {
      known = client.latest('book.updated')?.data.id
    })
    source().tell(1, book(1))
    expect(known).toBe(1)
  })

  it('count also when another page had heard them', () => {
    const { client, source } = start()
    const heard = vi.fn()
    client.subscribe({ onEvent: heard })
    source().sink.batch({ from: at(1), to: at(1), frames: [], present: [(book(1) as { event: LiveEvent }).event] })
    expect(client.latest('book.updated')?.data.id).toBe(1)
    expect(heard).not.toHaveBeenCalled()
  })

  it('are a thousand, the newest', () => {
    const { client, source } = start()
    client.subscribe({})
    for (let n = 1; n <= 1_001; n++) source().tell(n, book(n, `book/${n}`))
    expect(client.latest('book.updated', 'book/1')).toBeUndefined()
    expect(client.latest('book.updated', 'book/2')).toBeDefined()
    expect(client.latest('book.updated', 'book/1001')).toBeDefined()
  })
})

describe('the connection', () => {
  it('is told to be spoiled by a proxy with what to set there', async () => {
    const { client, source, errors } = start()
    client.subscribe({})
    source().sink.error(new TidingsError('proxy', 'a proxy cuts streams', { retrying: true }))
    await vi.waitFor(
      () => expect(errors.map(String)).toEqual([expect.stringContaining('`proxy_read_timeout`')]),
      60_000,
    )
  })

  it('is told of when it changes; its place is always the present one', () => {
    const { client, source } = start()
    const told: string[] = []
    const off = client.onConnection(({ status }) => told.push(status))
    client.subscribe({})
    source().is('connecting')
    source().is('open')
    const { connection } = client
    source().tell(7, book(7))
    expect(connection.cursor).toBe(at(7))
    off()
    source().is('waiting')
    expect(told).toEqual(['connecting', 'open'])
  })

  it('looks open while it is exchanged for one that brings more, unless that takes longer than 2 s', async () => {
    const { client, source } = start()
    const told: string[] = []
    client.onConnection(({ status }) => told.push(status))
    client.subscribe({ topics: ['book/*'] })
    source().is('open')
    client.subscribe({ topics: ['author/*'] })
    source().is('connecting')
    const place = client.position()
    let isPlaced = false
    void place.then(() => {
      isPlaced = true
    })
    await pass(1_999)
    expect([client.connection.status, isPlaced]).toEqual(['open', false])
    source().is('open')
    source().tell(3)
    expect(await place).toBe(at(3))
    await pass(10_000)
    expect(told).toEqual(['open', 'open'])
    source().is('connecting')
    await pass(2_000)
    expect(told).toEqual(['open', 'open', 'connecting'])
  })

  it('does not look open when it has failed', () => {
    const { client, source } = start()
    client.subscribe({})
    source().is('open')
    source().is('connecting', { error: new TidingsError('proxy', 'a proxy cuts streams', { retrying: true }) })
    expect(client.connection.status).toBe('connecting')
    source().is('open')
    source().is('connecting')
    source().is('waiting')
    expect(client.connection.status).toBe('waiting')
  })

  it('moves its place after its listeners have heard', () => {
    const { client, source } = start()
    let place: string | undefined = 'none'
    client.subscribe({
      onEvent: () => {
        place = client.connection.cursor
      },
    })
    source().tell(1, book(1))
    expect(place).toBeUndefined()
  })

  it('is ended by `close`, and nothing comes after it', () => {
    const { client, source } = start()
    const heard = vi.fn()
    client.subscribe({ onEvent: heard })
    source().is('open')
    client.close()
    source().tell(1, book(1))
    source().is('open')
    client.subscribe({ topics: ['more'] })
    expect(heard).not.toHaveBeenCalled()
    expect(source().calls).toEqual(['want all', 'close'])
    expect(client.connection).toMatchObject({ status: 'closed', error: undefined })
  })

  it('goes on from its place when it is wanted again after that', () => {
    const { client, source, sources } = start()
    client.subscribe({ topics: ['a'] })
    source().tell(5, book(5))
    client.close()
    client.reconnect()
    expect(sources).toHaveLength(2)
    expect(source().settings.cursor).toBe(at(5))
    expect(source().calls).toEqual(['want a'])
  })

  it('is woken by `reconnect`', () => {
    const { client, source } = start()
    client.subscribe({ topics: ['a'] })
    client.reconnect()
    expect(source().calls).toEqual(['want a', 'wake'])
  })

  it('is ended for all pages by `logout`, and everything is forgotten', async () => {
    const token = vi.fn(async () => 't')
    const { client, source, sources } = start({ token })
    client.subscribe({ topics: ['a'] })
    source().tell(5, book(5))
    const ask = () => source().sink.token(false, new AbortController().signal)
    await ask()
    await ask()
    expect(token).toHaveBeenCalledOnce()
    client.logout()
    expect(source().calls.at(-1)).toBe('logout')
    expect(client.latest('book.updated')).toBeUndefined()
    expect(client.connection).toMatchObject({
      status: 'closed',
      cursor: undefined,
      error: undefined,
      loggedOut: true,
    })
    client.reconnect()
    expect(sources).toHaveLength(2)
    expect(source().settings.cursor).toBeUndefined()
    await ask()
    expect(token).toHaveBeenCalledTimes(2)
  })

  it.each(['here', 'on another page'])(
    'begins where nobody was after a logout %s, and not at the cursor that the page came with',
    where => {
      const { client, source, sources } = start({ cursor: at(1) })
      client.subscribe({ topics: ['a'] })
      client.close()
      client.reconnect()
      expect(sources.map(({ settings }) => settings.cursor)).toEqual([at(1), at(1)])
      source().tell(5, book(5))
      if (where === 'here') client.logout()
      else source().sink.loggedOut()
      client.reconnect()
      expect(source().settings.cursor).toBeUndefined()
    },
  )

  it('is ended when another page has logged out', () => {
    const { client, source } = start()
    client.subscribe({ topics: ['a'] })
    source().tell(5, book(5))
    source().sink.loggedOut()
    expect(client.latest('book.updated')).toBeUndefined()
    expect(client.connection).toMatchObject({ status: 'closed', error: { code: 'unauthorized' }, loggedOut: true })
    client.close()
    expect(client.connection.loggedOut).toBe(false)
  })

  it('tells nothing twice to a listener that closes and comes back', () => {
    for (const isAtOnce of [true, false]) {
      const { client, source, sources } = start()
      client.subscribe({
        onEvent: () => {
          client.close()
          if (isAtOnce) client.reconnect()
        },
      })
      source().tell(2, book(1), book(2))
      client.reconnect()
      expect(sources.at(isAtOnce ? 2 : 1)?.settings.cursor).toBe(at(2))
    }
  })

  it('survives a listener that ends everything', () => {
    const { client, source } = start()
    const heard = vi.fn()
    client.subscribe({ onEvent: () => client.logout() })
    client.subscribe({ onEvent: heard, onBatch: heard })
    source().tell(2, book(1), book(2))
    expect(client.connection).toMatchObject({ status: 'closed', cursor: undefined })
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('the position', () => {
  it('is the place of an open connection, which it opens if need be', async () => {
    const { client, source } = start({ topics: ['a'] })
    const position = client.position()
    expect(source().calls).toEqual(['want a'])
    source().is('open')
    source().tell(3)
    expect(await position).toBe(at(3))
    expect(await client.position()).toBe(at(3))
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is none where nothing is wanted, and nothing is asked for, which would be everything', async () => {
    const { client, sources } = start({ topics: [] })
    await expect(client.position()).rejects.toMatchObject({ code: 'refused' })
    expect(sources).toHaveLength(0)
  })

  it('waits for a connection that is cut off', async () => {
    const { client, source } = start()
    client.subscribe({})
    source().is('open')
    source().tell(3)
    source().is('waiting')
    const found = vi.fn()
    void client.position().then(found)
    await pass(60_000)
    expect(found).not.toHaveBeenCalled()
    source().is('open')
    await pass()
    expect(found).toHaveBeenCalledWith(at(3))
  })

  it('is given up by a signal as aborted, also where it waits for a network that is away', async () => {
    const { client, source } = start()
    client.subscribe({})
    source().is('waiting', { error: new TidingsError('network', 'away', { retrying: true }) })
    const stop = new AbortController()
    const asked = client.position({ signal: stop.signal }).catch(error => error)
    await pass()
    stop.abort()
    expect(await asked).toMatchObject({ code: 'aborted', retrying: false })
  })

  it('is empty on a mount that tells none, once it is open for a second', async () => {
    const { client, source } = start()
    const position = client.position()
    await pass(60_000)
    source().is('open')
    await pass(1_000)
    expect(await position).toBe('')
  })

  it('is refused with the reason, or by its signal, or by an end', async () => {
    const { client, source } = start()
    const abort = new AbortController()
    const refused = client.position().catch((error: TidingsError) => error.code)
    const stopped = client.position({ signal: abort.signal }).catch((error: TidingsError) => error.code)
    abort.abort()
    expect(await stopped).toBe('aborted')
    source().is('closed', { error: { code: 'forbidden' } as TidingsError })
    expect(await refused).toBe('forbidden')
    source().is('connecting')
    const closed = client.position().catch((error: TidingsError) => error.code)
    client.close()
    expect(await closed).toBe('aborted')
    expect(await client.position().catch((error: TidingsError) => error.code)).toBe('aborted')
    expect(vi.getTimerCount()).toBe(0)
  })

  it('opens nothing for who is stopped already', async () => {
    const { client, sources } = start()
    await expect(client.position({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' })
    expect(sources).toHaveLength(0)
  })
})

describe('a page', () => {
  const inPage = () => {
    const page = new Page()
    return {
      page,
      environment: world({ window: page.window, document: page.document, location: 'http://app.test/books/' }),
    }
  }

  it('tells the connection when it is seen, and wakes it when the network or the page is back', () => {
    const { page, environment } = inPage()
    const { client, source } = start({}, environment)
    client.subscribe({ topics: ['a'] })
    page.show(false)
    page.show(true)
    source().is('waiting', { retryAt: 1 })
    page.online()
    page.restore()
    expect(source().calls).toEqual(['want a', 'hidden', 'visible', 'wake in time', 'wake in time'])
  })

  it('wakes nothing that has ended for good, or rests in the background', () => {
    const { page, environment } = inPage()
    const { client, source } = start({}, environment)
    client.subscribe({ topics: ['a'] })
    source().is('waiting')
    page.online()
    source().is('closed')
    page.online()
    page.restore()
    expect(source().calls).toEqual(['want a'])
  })

  it('is hidden from the beginning where it is opened in the background', () => {
    const { page, environment } = inPage()
    page.document.visibilityState = 'hidden'
    const { client, source } = start({}, environment)
    client.subscribe({ topics: ['a'] })
    expect(source().calls).toEqual(['hidden', 'want a'])
  })

  it('tells nothing any more after `close`', () => {
    const { page, environment } = inPage()
    const { client, source } = start({}, environment)
    client.subscribe({ topics: ['a'] })
    client.close()
    page.show(false)
    page.online()
    expect(source().calls).toEqual(['want a', 'close'])
  })

  it('finds the hub at its own origin', () => {
    const { environment } = inPage()
    const { client, source } = start({ url: undefined }, environment)
    client.subscribe({})
    expect(source().settings.url).toBe('http://app.test/')
  })
})

describe('sharing', () => {
  it('falls back to a connection of the page where it can not be, and says so', async () => {
    const { sources, source } = start()
    const errors: TidingsError[] = []
    const sink = {
      error: (error: TidingsError) => errors.push(error),
      token: async () => undefined,
    } as unknown as SourceSink
    const alone: OpenSource = (settings, told) => {
      sources.push(new Played(settings, told))
      return source()
    }
    for (const load of [
      () => Promise.reject(new Error('blocked by a policy')),
      async () => ({
        openShared: () => {
          throw new Error('storage is disabled')
        },
      }),
    ]) {
      const opened = sharedOr(alone, load)({} as Settings, sink, world(), {})
      opened.want(['a'])
      opened.visible(false)
      opened.wake()
      opened.close(false)
      await pass()
      expect(source().calls).toEqual(['want a', 'hidden', 'wake', 'close'])
    }
    expect(errors.map(({ code, retrying }) => [code, retrying])).toEqual([
      ['sharing', true],
      ['sharing', true],
    ])
    expect(errors[0]?.message).toContain('blocked by a policy')
  })
})

describe('a request', () => {
  const answer = (status: number) => new Response(null, { status })

  it('has the credential, the headers and the base of the hub', async () => {
    const fetch = vi.fn(async (..._: Parameters<typeof globalThis.fetch>) => answer(200))
    const { client } = start(
      { url: 'http://hub.test/base', token: 't1', headers: { 'x-a': '1' }, credentials: 'include' },
      world({ fetch }),
    )
    await client.request('v1/jobs', { method: 'POST', headers: { 'content-type': 'text/csv' } })
    const [url, init] = fetch.mock.calls[0] ?? []
    expect(String(url)).toBe('http://hub.test/base/v1/jobs')
    expect(init).toMatchObject({ method: 'POST', credentials: 'include' })
    expect(Object.fromEntries(init?.headers as Headers)).toEqual({
      authorization: 'Bearer t1',
      'content-type': 'text/csv',
      'x-a': '1',
    })
  })

  it('is made once more with a new credential after a 401', async () => {
    vi.useRealTimers()
    let made = 0
    const sent: (string | null)[] = []
    const fetch = vi.fn(async (_: unknown, init?: RequestInit) => {
      sent.push(new Headers(init?.headers).get('authorization'))
      return answer(sent.length === 1 ? 401 : 200)
    })
    const { client } = start({ token: () => `t${++made}` }, world({ fetch: fetch as typeof globalThis.fetch }))
    expect((await client.request('v1/whoami')).status).toBe(200)
    expect(sent).toEqual(['Bearer t1', 'Bearer t2'])
    expect((await client.request('v1/whoami')).status).toBe(200)
    expect(made).toBe(2)
  })

  it('gives the 401 where no other credential can be had', async () => {
    const fetch = vi.fn(async () => answer(401))
    const { client } = start({ token: 't' }, world({ fetch }))
    expect((await client.request('v1/whoami')).status).toBe(401)
    expect(fetch).toHaveBeenCalledOnce()
  })

  it.each(['request', 'client'] as const)('gives the 401 of a credential of its own: that of the %s', async whose => {
    vi.useRealTimers()
    const fetch = vi.fn(async (..._: Parameters<typeof globalThis.fetch>) => answer(401))
    const token = vi.fn(() => 't')
    const headers = { Authorization: 'Basic eA==' }
    const { client } = start({ token, ...(whose === 'client' && { headers }) }, world({ fetch }))
    const response = await client.request('v1/whoami', whose === 'request' ? { headers } : {})
    expect(response.status).toBe(401)
    expect(fetch).toHaveBeenCalledOnce()
    expect(new Headers(fetch.mock.calls[0]?.[1]?.headers).get('authorization')).toBe('Basic eA==')
    expect(token).not.toHaveBeenCalled()
  })

  it('tells nobody a credential that is no header', async () => {
    const { client } = start({ token: 'secret\n1' })
    const { client: other } = start({ headers: { 'x-key': 'secret\n1' } })
    for (const one of [client, other]) {
      const error = await one.request('v1/whoami').catch((error: unknown) => error as TidingsError)
      expect(error).toMatchObject({ code: 'refused' })
      expect((error as TidingsError).cause).toBeUndefined()
      expect(String(error)).not.toContain('secret')
    }
  })

  it('goes nowhere but to the hub', async () => {
    const fetch = vi.fn()
    const { client } = start({ token: 't' }, world({ fetch }))
    for (const path of ['http://evil.test/', '//evil.test/x', 'http://[']) {
      await expect(client.request(path)).rejects.toMatchObject({ code: 'refused' })
    }
    expect(fetch).not.toHaveBeenCalled()
  })

  it('fails with a typed error', async () => {
    const fetch = vi.fn(async (_: unknown, init?: RequestInit) => {
      init?.signal?.throwIfAborted()
      throw new TypeError('Failed to fetch')
    })
    const { client } = start({}, world({ fetch: fetch as typeof globalThis.fetch }))
    await expect(client.request('x')).rejects.toMatchObject({ code: 'network' })
    const abort = new AbortController()
    const request = client.request('x', { signal: abort.signal })
    abort.abort()
    await expect(request).rejects.toMatchObject({ code: 'aborted' })
  })
})
