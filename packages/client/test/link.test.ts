import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { TidingsError } from '../src/errors.js'
import { Link } from '../src/link.js'
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
    asks: [] as boolean[],
  }
  const tokens: { give: (refresh: boolean) => Promise<Token | undefined> } = { give: async () => undefined }
  const settings = settle({ url: 'http://hub.test', ...options }, environment)
  const link = new Link(
    settings,
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
    data: () => said.batches.flatMap(({ frames }) => frames.map(frame => (frame.type === 'gap' ? 'gap' : frame.event.data))),
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

describe('a link', () => {
  it('connects once for all who want something in one turn', async () => {
    const { link, network } = start()
    link.want(['a'])
    link.want(['a', 'b'])
    await pass()
    expect(network.asked.map(({ request }) => request.topics)).toEqual([['a', 'b']])
  })

  it('is open when the first frame has come, and comes back from its place after a cut', async () => {
    const { network, now } = await opened()
    expect(now()?.status).toBe('open')
    network.last.send(event(11), event(12))
    network.last.end()
    expect(now()).toMatchObject({ status: 'waiting', attempt: 1 })
    await pass(1_000)
    expect(network.last.request.cursor).toBe(at(12))
  })
})
