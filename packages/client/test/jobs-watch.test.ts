import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { TidingsError } from '../src/errors.js'
import { type Job, type WatchJobOptions, watchJob } from '../src/jobs.js'
import { document, type Hub, hub } from './jobs.harness.js'
import { settled } from './transports.harness.js'

const unhandled: unknown[] = []
process.on('unhandledRejection', error => unhandled.push(error))
beforeEach(() => {
  unhandled.length = 0
})
afterEach(async () => {
  await settled()
  expect(unhandled).toEqual([])
})

const END = document({ state: 'completed', revision: 9, result: { rows: 4 } })
const block = (name: string, data: unknown) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`
const OPEN = block('tidings.open', { cursor: '9f3c2a1b-1' })

function follow(at: Hub, options: WatchJobOptions = {}) {
  const told = { progress: [] as Job[], items: [] as unknown[], ends: [] as Job[], done: undefined as unknown }
  const watch = watchJob(at.client, '42', {
    token: 'tdj_1',
    onProgress: job => told.progress.push(job),
    onItem: (item, index) => told.items.push([index, item]),
    onEnd: job => told.ends.push(job),
    ...options,
  })
  watch.done.then(
    job => {
      told.done = job
    },
    error => {
      told.done = error
    },
  )
  return { watch, told }
}

async function streaming(at: Hub = hub(), options: WatchJobOptions = {}) {
  const { watch, told } = follow(at, options)
  await settled()
  await at.last().stream()
  await at.last().send(OPEN)
  return { at, watch, told }
}

const paths = (at: Hub) => at.calls.map(({ url }) => url.pathname)
const STREAM = '/v1/jobs/42/events'
const DOCUMENT = '/v1/jobs/42'

describe('by a stream', () => {
  test('the job’s own token is the credential, and the end is told once', async () => {
    const { at, told } = await streaming(hub(), { token: 'tdj_1' })
    expect(at.last().headers.get('authorization')).toBe('Bearer tdj_1')
    await at
      .last()
      .send(
        block('job.running', document()),
        block('job.progress', document({ progress: { done: 1, total: 4, fraction: 0.25 } })),
        block('job.item', { id: '42', index: 0, item: 'a' }),
        block('job.item', { id: '42', index: 0, item: 'a' }),
        block('job.completed', END) + block('job.completed', END),
      )
    expect(told.progress).toHaveLength(2)
    expect(told.items).toEqual([[0, 'a']])
    expect([told.ends, told.done]).toEqual([[END], END])
    await at.clock.pass(1_000_000)
    expect([at.calls.length, at.clock.waiting]).toEqual([1, 0])
  })

  test('what is told again after a reconnect, or is older, is not told twice', async () => {
    const { at, told } = await streaming()
    await at
      .last()
      .send(block('job.running', document({ revision: 3 })), block('job.running', document({ revision: 3 })))
    await at
      .last()
      .send(
        block('job.queued', document({ state: 'queued' })),
        block('job.running', { id: '7', state: 'lost' }),
        'event: job.lost\ndata: {\n\n',
      )
    expect(told.progress.map(({ revision }) => revision)).toEqual([3])
    expect(told.done).toBe(undefined)
  })

  test('a refusal is the end of the watch', async () => {
    const at = hub()
    const { told } = follow(at)
    await settled()
    await at.last().reply(404, { detail: 'no such job' })
    expect(told.done).toMatchObject({
      code: 'refused',
      status: 404,
      problem: { detail: 'no such job' },
      retrying: false,
    })
    await at.clock.pass(100_000)
    expect([at.calls.length, at.clock.waiting]).toEqual([1, 0])
  })

  test.each(['204', '4007'])('%s without the end’s document asks for it', async how => {
    const { at, told } = await streaming()
    if (how === '204') {
      await at.last().cut()
      await at.clock.pass(1_000)
      await at.last().reply(204, null)
    } else {
      await at.last().send(block('tidings.close', { code: 4007, reason: 'finished', message: '', reconnect: false }))
      await at.last().end()
    }
    expect(paths(at).at(-1)).toBe(DOCUMENT)
    await at.last().reply(200, END)
    expect(told.done).toEqual(END)
  })
})

describe('where streams don’t get through, it asks', () => {
  test('when no byte has come 5 s after the request, whether the head has come or not', async () => {
    for (const head of [false, true]) {
      const at = hub()
      const { told } = follow(at)
      await settled()
      if (head) await at.last().stream()
      await at.clock.pass(4_999)
      expect(paths(at)).toEqual([STREAM])
      await at.clock.pass(1)
      expect(paths(at)).toEqual([STREAM, DOCUMENT])
      expect(at.calls[0]?.signal.aborted).toBe(true)
      await at.last().reply(200, END)
      expect(told.done).toEqual(END)
    }
  })

  test('at once when the answer is a page', async () => {
    const at = hub()
    follow(at)
    await settled()
    await at.last().reply(200, '<html>')
    expect(paths(at)).toEqual([STREAM, DOCUMENT])
  })

  test('after three short-lived streams in a row', async () => {
    const { at } = await streaming()
    for (let n = 1; n <= 3; n++) {
      await at.last().end()
      if (n === 3) break
      await at.clock.pass(2_000)
      await at.last().stream()
      await at.last().send(OPEN)
    }
    expect(paths(at)).toEqual([STREAM, STREAM, STREAM, DOCUMENT])
  })

  test('but not where the hub is down for a while after one of them', async () => {
    const { at } = await streaming()
    await at.last().cut()
    for (let n = 0; n < 5; n++) {
      await at.clock.pass(500 * 2 ** n)
      await at.last().fail()
    }
    expect(paths(at)).toEqual(Array.from({ length: 6 }, () => STREAM))
  })

  test('but not where one of them lasted, or ended for a reason', async () => {
    const { at } = await streaming()
    for (let n = 0; n < 9; n++) {
      if (n % 3 === 0) {
        await at.last().send(':')
        await at.clock.pass(20_000)
        await at.last().cut()
      } else if (n % 3 === 1) {
        await at.last().send(block('tidings.close', { code: 3001, reason: 'draining', message: '', reconnect: true }))
        await at.last().end()
      } else await at.last().cut()
      await at.clock.pass(2_000)
      await at.last().stream()
      await at.last().send(OPEN)
    }
    expect(new Set(paths(at))).toEqual(new Set([STREAM]))
  })

  async function polling(options: WatchJobOptions = {}) {
    const at = hub()
    const followed = follow(at, options)
    await settled()
    await at.last().reply(200, '<html>')
    return { at, ...followed }
  }

  test('30 times a minute, and later where Retry-After says so', async () => {
    const { at, told } = await polling({ onItem: undefined })
    for (let n = 0; n < 30; n++) {
      await at.last().reply(200, document({ progress: { done: n } }))
      await at.clock.pass(2_000)
    }
    expect(at.calls).toHaveLength(1 + 31)
    await at.last().reply(429, {}, { 'retry-after': '30' })
    await at.clock.pass(29_999)
    expect(at.calls).toHaveLength(32)
    await at.clock.pass(1)
    expect(at.calls).toHaveLength(33)
    await at.last().fail()
    await at.clock.pass(2_000)
    expect(told.progress).toHaveLength(29 + 1)
    await at.last().reply(200, END)
    expect([told.done, at.clock.waiting]).toEqual([END, 0])
  })

  test('and fetches the items that it was not told', async () => {
    const { at, told } = await polling()
    await at.last().reply(200, document({ items: 3 }))
    expect(at.last().url.href).toBe('https://hub.example/v1/jobs/42/result?from=0')
    await at.last().reply(200, { state: 'running', items: ['a', 'b'], count: 3, next: 2 })
    await at.last().reply(200, { state: 'running', items: ['c'], count: 3 })
    expect(told.items).toEqual([
      [0, 'a'],
      [1, 'b'],
      [2, 'c'],
    ])
    expect(told.progress).toHaveLength(1)
    await at.clock.pass(2_000)
    await at.last().reply(200, { ...END, items: 3 })
    expect(told.ends).toHaveLength(1)
  })

  test('an answer that is cut off heals, be it the document or a page of items', async () => {
    const { at, told } = await polling()
    await at.last().stream({ 'content-type': 'application/json' })
    await at.last().send('{"id":"42","sta')
    await at.last().cut()
    await at.clock.pass(2_000)
    await at.last().reply(200, document({ items: 1 }))
    await at.last().stream({ 'content-type': 'application/json' })
    await at.last().send('{"state":"running","ite')
    await at.last().cut()
    expect(told.done).toBe(undefined)
    await at.clock.pass(2_000)
    await at.last().reply(200, { state: 'running', items: ['a'], count: 1 })
    expect(told.items).toEqual([[0, 'a']])
    expect(told.progress).toHaveLength(1)
  })

  test('a refusal ends it, and an answer that is none of a hub’s too', async () => {
    const refused = await polling()
    await refused.at.last().reply(403, {})
    expect(refused.told.done).toMatchObject({ code: 'forbidden', status: 403 })
    const lied = await polling()
    await lied.at.last().reply(200, '<html>')
    expect(lied.told.done).toMatchObject({ code: 'content-type' })
  })
})

describe('by the client’s connection', () => {
  /** Watched without a token, with a connection that is open. */
  async function hearing(options: WatchJobOptions = {}, at: Hub = hub(), status: 'open' | 'connecting' = 'open') {
    at.live.set(status)
    const followed = follow(at, { token: undefined, ...options })
    await settled()
    return { at, ...followed }
  }

  test('one question is asked, at the place from which on all is heard, and the topic tells the rest', async () => {
    const { at, told } = await hearing()
    expect([...at.live.subscriptions].map(({ topics }) => topics)).toEqual([['job/42']])
    expect(paths(at)).toEqual([DOCUMENT])
    await at.last().reply(200, document({ revision: 3 }))
    at.live.tell('job.running', document({ revision: 2 }))
    at.live.tell('job.progress', document({ revision: 3, updated: 3, progress: { done: 1 } }))
    at.live.tell('job.progress', document({ revision: 3, updated: 2, progress: { done: 0 } }))
    at.live.tell('job.item', { id: '42', index: 0, item: 'a' })
    at.live.tell('job.completed', END)
    expect(told.progress.map(({ progress }) => progress?.done)).toEqual([undefined, 1])
    expect(told.items).toEqual([[0, 'a']])
    await settled()
    expect(told.done).toEqual(END)
    await at.clock.pass(100_000)
    expect([at.calls.length, at.live.subscriptions.size, at.clock.waiting]).toEqual([1, 0, 0])
  })

  test('a job that ended long ago is told, one that is not to be seen fails, and neither goes on', async () => {
    const ended = await hearing()
    await ended.at.last().reply(200, END)
    expect(ended.told.done).toEqual(END)
    const hidden = await hearing()
    await hidden.at.last().reply(404, { detail: 'no such job' })
    expect(hidden.told.done).toMatchObject({ code: 'refused', status: 404, retrying: false })
    for (const { at } of [ended, hidden]) expect([at.live.subscriptions.size, at.clock.waiting]).toEqual([0, 0])
  })

  test('a gap is a reason to ask again', async () => {
    const { at, told } = await hearing()
    await at.last().reply(200, document())
    at.live.gap()
    await settled()
    expect(paths(at)).toEqual([DOCUMENT, DOCUMENT])
    await at.last().reply(200, END)
    expect(told.done).toEqual(END)
  })

  test('all who watch a job by one client share it, and the last one ends it', async () => {
    for (const token of [undefined, 'tdj_1']) {
      const { at, watch, told } = await hearing({ token })
      const other = follow(at, { token })
      await settled()
      expect(at.calls).toHaveLength(1)
      if (token === undefined) {
        expect(at.live.subscriptions.size).toBe(1)
        await at.last().reply(200, document())
        watch.close()
        at.live.tell('job.completed', END)
      } else {
        await at.last().stream()
        await at.last().send(block('job.running', document()))
        watch.close()
        await at.last().send(block('job.completed', END))
      }
      await settled()
      expect(told.done).toMatchObject({ code: 'aborted' })
      expect(other.told).toMatchObject({ progress: [document()], done: END })
      expect([at.calls.length, at.live.subscriptions.size, at.clock.waiting]).toEqual([1, 0, 0])
    }
  })

  test('who comes later is told what is known, with the items that he missed first', async () => {
    const { at } = await hearing()
    await at.last().reply(200, document())
    at.live.tell('job.item', { id: '42', index: 0, item: 'a' })
    const late = follow(at, { token: undefined })
    await settled()
    expect(late.told.progress).toEqual([document()])
    at.live.tell('job.item', { id: '42', index: 1, item: 'b' })
    at.live.tell('job.item', { id: '42', index: 2, item: 'c' })
    await settled()
    expect(at.last().url.href).toBe('https://hub.example/v1/jobs/42/result?from=0')
    await at.last().reply(200, { state: 'running', items: ['a', 'b'], count: 2 })
    expect(late.told.items).toEqual([
      [0, 'a'],
      [1, 'b'],
      [2, 'c'],
    ])
    at.live.tell('job.completed', { ...END, items: 4 })
    await settled()
    expect(late.told.ends).toEqual([])
    for (const call of at.calls.slice(-2)) await call.reply(200, { state: 'completed', items: ['d'], count: 4 })
    expect(late.told.items.at(-1)).toEqual([3, 'd'])
    expect(late.told.ends).toHaveLength(1)
  })

  test('a connection that is not open for 5 s is not waited for, and not asked beside when it is back', async () => {
    const { at, told } = await hearing({}, hub(), 'connecting')
    await at.clock.pass(4_999)
    expect(at.calls).toHaveLength(0)
    await at.clock.pass(1)
    await at.last().reply(200, document())
    await at.clock.pass(2_000)
    expect(at.calls).toHaveLength(2)
    await at.last().reply(200, document())
    at.live.set('open')
    await at.clock.pass(2_000)
    await at.last().reply(200, document())
    await at.clock.pass(100_000)
    expect(at.calls).toHaveLength(3)
    // A short cut heals by itself; one that lasts, or an end, does not.
    at.live.set('waiting')
    await at.clock.pass(4_999)
    at.live.set('open')
    await at.clock.pass(10_000)
    expect(at.calls).toHaveLength(3)
    at.live.set('closed')
    await settled()
    expect(at.calls).toHaveLength(4)
    await at.last().reply(200, END)
    expect([told.done, at.live.subscriptions.size, at.clock.waiting]).toEqual([END, 0, 0])
  })

  test.each([
    ['a close', false],
    ['a logout', true],
  ])('%s of the client ends each watch, and nothing is asked any more', async (_, loggedOut) => {
    for (const where of ['open', 'asked about', 'away', 'a stream'] as const) {
      const status = where === 'away' ? 'connecting' : 'open'
      const { at, told } = await hearing({ token: where === 'a stream' ? 'tdj_1' : undefined }, hub(), status)
      if (where === 'open') await at.last().reply(200, document())
      if (where === 'a stream') await at.last().stream()
      const calls = at.calls.length
      at.live.close(loggedOut)
      await at.clock.pass(60_000)
      expect(told.done).toMatchObject({ code: 'aborted', message: 'the client was closed' })
      expect([at.calls.length, at.live.subscriptions.size, at.clock.waiting]).toEqual([calls, 0, 0])
      for (const { signal } of at.calls) expect(signal.aborted || where === 'open').toBe(true)
    }
  })

  test('a profile’s own stream may not bring jobs, so they have theirs', async () => {
    const { at } = await hearing({}, hub({ paths: { sse: 'sse' } }))
    expect([paths(at), at.live.subscriptions.size]).toEqual([[STREAM], 0])
  })
})

describe('what goes wrong', () => {
  test('heals and is reported, or ends the watch: it never hangs without a word', async () => {
    const errors: { code: string; retrying: boolean }[] = []
    const { at, told } = await streaming(hub({ onError: error => errors.push(error) }))
    await at.last().cut()
    expect(errors).toMatchObject([{ code: 'network', retrying: true }])
    await at.clock.pass(1_000)
    await at.last().reply(503, {})
    expect(errors.at(-1)).toMatchObject({ code: 'unavailable', retrying: true })
    await at.clock.pass(2_000)
    await at.last().reply(200, '<html>')
    expect(errors.at(-1)).toMatchObject({ code: 'proxy', retrying: true })
    await at.last().fail()
    expect(errors.at(-1)).toMatchObject({ code: 'network', retrying: true })
    expect([errors.length, told.done]).toEqual([4, undefined])
  })

  test('a request that can never be made ends it', async () => {
    const at = hub()
    const refuse = () => Promise.reject(new TidingsError('refused', 'not valid in HTTP'))
    for (const token of ['tdj_1', undefined]) {
      at.live.set('open')
      const { told } = follow(
        { ...at, client: { ...at.client, connection: at.live.connection, request: refuse } },
        { token },
      )
      await settled()
      expect(told.done).toMatchObject({ code: 'refused', message: 'not valid in HTTP' })
      expect(at.clock.waiting).toBe(0)
    }
  })
})

describe('whoever watches by callbacks', () => {
  /** Watched by callbacks alone, of a job that is not to be seen. */
  async function hidden(options: WatchJobOptions) {
    const errors: TidingsError[] = []
    const at = hub({ onError: error => errors.push(error) })
    const watch = watchJob(at.client, '42', { token: 'tdj_1', ...options })
    const refuse = async () => {
      await settled()
      await at.last().reply(404, { detail: 'no such job' })
    }
    return { at, watch, errors, refuse }
  }

  test('is told why the job can’t be watched, once', async () => {
    const told: TidingsError[] = []
    const { errors, refuse } = await hidden({ onError: error => told.push(error) })
    await refuse()
    expect(told).toMatchObject([{ code: 'refused', status: 404, retrying: false }])
    expect(errors).toEqual([])
  })

  test('and gave no callback for that has it told to the client', async () => {
    const { errors, refuse } = await hidden({ onProgress: () => {}, onEnd: () => {} })
    await refuse()
    expect(errors).toMatchObject([{ code: 'refused', status: 404, retrying: false }])
  })

  test('is told also where the client’s own callback throws for another watch', async () => {
    const logged = vi.spyOn(console, 'error').mockImplementation(() => {})
    const told: string[] = []
    const at = hub({
      onError: () => {
        throw new Error('mine')
      },
    })
    watchJob(at.client, '42', { token: 'tdj_1', onProgress: () => {} })
    watchJob(at.client, '42', { token: 'tdj_1', onError: ({ code }) => told.push(code) })
    await settled()
    await at.last().reply(404, {})
    expect(told).toEqual(['refused'])
    expect(logged).toHaveBeenCalledWith(new Error('mine'))
    logged.mockRestore()
  })

  test('and takes the promise or reads has it from there alone', async () => {
    for (const how of ['done', 'loop'] as const) {
      const { watch, errors, refuse } = await hidden({ onProgress: () => {} })
      const failed = how === 'done' ? watch.done : watch[Symbol.asyncIterator]().next()
      const told = expect(failed).rejects.toMatchObject({ status: 404 })
      await refuse()
      await told
      expect(errors).toEqual([])
    }
  })

  test('is told of the client’s end, but not of his own', async () => {
    for (const how of ['client', 'close', 'signal'] as const) {
      const told: string[] = []
      const stop = new AbortController()
      const { at, watch, errors } = await hidden({ onError: ({ code }) => told.push(code), signal: stop.signal })
      await settled()
      if (how === 'client') at.live.close(true)
      else if (how === 'close') watch.close()
      else stop.abort()
      expect([told, errors]).toEqual([how === 'client' ? ['aborted'] : [], []])
    }
  })
})

describe('the loop', () => {
  test('a slow reader is spared the progress in between, and no state', async () => {
    const { at, watch } = await streaming()
    const reader = watch[Symbol.asyncIterator]()
    for (let done = 0; done < 1_000; done++)
      await at.last().send(block('job.progress', document({ progress: { done } })))
    await at.last().send(block('job.queued', document({ state: 'queued', revision: 3 })), block('job.completed', END))
    const read: Job[] = []
    for (let next = await reader.next(); !next.done; next = await reader.next()) read.push(next.value)
    expect(read.map(({ state, progress }) => [state, progress?.done])).toEqual([
      ['running', 999],
      ['queued', undefined],
      ['completed', undefined],
    ])
  })

  test('each reader is told all from where the job is, and who comes after the end that alone', async () => {
    const { at, watch } = await streaming()
    const read = async () => {
      const states: string[] = []
      for await (const { state } of watch) states.push(state)
      return states
    }
    const first = read()
    await at.last().send(block('job.queued', document({ state: 'queued', revision: 1 })))
    const second = read()
    await at.last().send(block('job.running', document()), block('job.completed', END))
    expect(await first).toEqual(['queued', 'running', 'completed'])
    expect(await second).toEqual(['queued', 'running', 'completed'])
    expect(await read()).toEqual(['completed'])
  })

  test('who leaves the last loop watches no more, and cancels nothing', async () => {
    const at = hub()
    const watch = watchJob(at.client, '42', { token: 'tdj_1' })
    const left = (async () => {
      for await (const _ of watch) break
    })()
    await settled()
    await at.last().stream()
    await at.last().send(block('job.running', document()))
    await left
    await at.clock.pass(100_000)
    expect(at.last().signal.aborted).toBe(true)
    expect(at.calls.map(({ init }) => init.method ?? 'GET')).toEqual(['GET'])
    expect(at.clock.waiting).toBe(0)
  })
})

test.each(['before', 'while it is asked', 'while it streams', 'while it polls', 'while it pauses'])(
  'an abort %s ends it with that, and leaves nothing',
  async when => {
    const at = hub()
    const stop = new AbortController()
    if (when === 'before') stop.abort()
    const { watch, told } = follow(at, { signal: stop.signal })
    const reading = (async () => {
      for await (const _ of watch);
    })().catch(error => error)
    await settled()
    if (when === 'while it streams') {
      await at.last().stream()
      await at.last().send(OPEN)
    } else if (when === 'while it polls' || when === 'while it pauses') {
      await at.last().reply(200, '<html>')
      if (when === 'while it pauses') await at.last().reply(200, document())
    }
    const calls = at.calls.length
    stop.abort()
    await at.clock.pass(100_000)
    expect(told.done).toMatchObject({ name: 'TidingsError', code: 'aborted' })
    expect(await reading).toMatchObject({ code: 'aborted' })
    expect([at.calls.length, at.clock.waiting, told.ends.length]).toEqual([calls, 0, 0])
  },
)

test('a callback that throws is reported, and the rest goes on', async () => {
  const errors: unknown[] = []
  const failing = () => {
    throw new Error('mine')
  }
  const { at, told } = await streaming(hub({ onError: error => errors.push(error) }), {
    onProgress: failing,
    onItem: failing,
  })
  await at
    .last()
    .send(
      block('job.running', document()),
      block('job.item', { id: '42', index: 0, item: 1 }),
      block('job.completed', END),
    )
  expect(errors).toMatchObject([
    { code: 'handler', cause: { message: 'mine' } },
    { code: 'handler', cause: { message: 'mine' } },
  ])
  expect(told.done).toEqual(END)
})
