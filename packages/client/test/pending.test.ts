import { afterEach, beforeEach, describe, expect, expectTypeOf, test, vi } from 'vitest'
import { clientOver } from '../src/client.js'
import type { TidingsError } from '../src/errors.js'
import { createPending, type Kind, type Pending } from '../src/pending.js'
import type { SourceSink } from '../src/source.js'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

const wait = (ms: number) => vi.advanceTimersByTimeAsync(ms)

/** The kinds of the photo app, in its order, and what was applied. */
function gallery(more: Partial<Kind<string>> = {}) {
  const applied: [string, readonly string[]][] = []
  const errors: TidingsError[] = []
  const kind = (name: string): Kind<string> => ({
    apply: changes => {
      applied.push([name, changes])
    },
    ...more,
  })
  const pending = createPending({
    kinds: { upload: kind('upload'), delete: kind('delete'), hidden: kind('hidden'), trash: kind('trash') },
    onError: error => errors.push(error),
  })
  return { pending, applied, errors }
}

describe('debounced', () => {
  test('kinds are applied 500 ms after the last change, uploads before deletes before hidden before trash, each once', async () => {
    const { pending, applied } = gallery()
    pending.add('trash', 't1')
    pending.add('hidden', 'h1')
    await wait(499)
    pending.add('delete', 'd1')
    pending.add('upload', 'u1')
    pending.add('trash', 't2')
    await wait(499)
    expect(applied).toEqual([])
    expect(pending.size).toBe(5)
    await wait(1)
    expect(applied).toEqual([
      ['upload', ['u1']],
      ['delete', ['d1']],
      ['hidden', ['h1']],
      ['trash', ['t1', 't2']],
    ])
    expect(pending.size).toBe(0)
    await wait(10_000)
    expect(applied).toHaveLength(4)
  })

  test('every change begins the wait anew, and sets no timer of its own', async () => {
    const { pending, applied } = gallery()
    for (let number = 0; number < 20; number++) {
      pending.add('upload', `${number}`)
      await wait(400)
      expect(vi.getTimerCount()).toBe(1)
    }
    expect(applied).toEqual([])
    await wait(100)
    expect(applied[0]?.[1]).toHaveLength(20)
  })

  test('a kind that waits longer holds the others back, so that the order holds', async () => {
    const applied: string[] = []
    const pending = createPending({
      kinds: {
        slow: { apply: (_: readonly number[]) => applied.push('slow'), debounce: 2_000 },
        fast: { apply: (_: readonly number[]) => applied.push('fast') },
      },
    })
    pending.add('slow', 1)
    pending.add('fast', 1)
    await wait(1_999)
    expect(applied).toEqual([])
    await wait(1)
    expect(applied).toEqual(['slow', 'fast'])
    pending.add('fast', 2)
    await wait(500)
    expect(applied).toEqual(['slow', 'fast', 'fast'])
  })
})

describe('batched', () => {
  const batched = (batch: Kind<number>['batch']) => {
    const applied: (readonly number[])[] = []
    const pending = createPending({ kinds: { ready: { apply: (c: readonly number[]) => applied.push(c), batch } } })
    return { pending, applied }
  }

  test('changes are applied after 5 s of quiet', async () => {
    const { pending, applied } = batched(true)
    pending.add('ready', 1)
    await wait(4_000)
    pending.add('ready', 2)
    await wait(4_999)
    expect(applied).toEqual([])
    await wait(1)
    expect(applied).toEqual([[1, 2]])
  })

  test('changes that never pause are applied 10 s after the first', async () => {
    const { pending, applied } = batched(true)
    for (let second = 0; second < 10; second++) {
      pending.add('ready', second)
      await wait(1_000)
    }
    expect(applied).toEqual([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]])
    pending.add('ready', 10)
    await wait(4_999)
    expect(applied).toHaveLength(1)
    await wait(1)
    expect(applied[1]).toEqual([10])
  })

  test('with a leading edge the first is applied at once, and the first after 10 s of quiet', async () => {
    const { pending, applied } = batched({ leading: true })
    pending.add('ready', 1)
    expect(applied).toEqual([[1]])
    await wait(3_000)
    pending.add('ready', 2)
    expect(applied).toHaveLength(1)
    await wait(5_000)
    expect(applied).toEqual([[1], [2]])
    await wait(9_999)
    pending.add('ready', 3)
    expect(applied).toHaveLength(2)
    await wait(5_000)
    expect(applied[2]).toEqual([3])
    await wait(10_000)
    pending.add('ready', 4)
    expect(applied[3]).toEqual([4])
  })

  test('a batched kind keeps its own clock beside debounced ones', async () => {
    const applied: string[] = []
    const pending = createPending({
      kinds: {
        ready: { apply: (_: readonly number[]) => applied.push('ready'), batch: { quiet: 1_000 } },
        gone: { apply: (_: readonly number[]) => applied.push('gone') },
      },
    })
    pending.add('ready', 1)
    pending.add('gone', 1)
    await wait(500)
    expect(applied).toEqual(['gone'])
    await wait(500)
    expect(applied).toEqual(['gone', 'ready'])
  })
})

describe('applying', () => {
  test('waits for the one before, and keeps what comes meanwhile for the next, in order', async () => {
    const log: string[] = []
    let finish: () => void = () => {}
    const pending = createPending({
      kinds: {
        upload: {
          apply: (changes: readonly string[]) => {
            log.push(`begin ${changes}`)
            return new Promise<void>(resolve => {
              finish = () => {
                log.push(`end ${changes}`)
                resolve()
              }
            })
          },
        },
        delete: { apply: (changes: readonly string[]) => log.push(`delete ${changes}`) },
      },
    })
    pending.add('upload', 'a')
    pending.add('delete', 'x')
    await wait(500)
    pending.add('upload', 'b')
    pending.add('delete', 'b')
    await wait(5_000)
    expect(log).toEqual(['begin a'])
    finish()
    await wait(0)
    expect(log).toEqual(['begin a', 'end a', 'delete x', 'begin b'])
    finish()
    await wait(0)
    expect(log.slice(4)).toEqual(['end b', 'delete b'])
  })

  test('what throws or rejects is reported, and the others go on', async () => {
    const applied: string[] = []
    const errors: TidingsError[] = []
    const pending = createPending({
      kinds: {
        one: {
          apply: (_: readonly number[]) => {
            throw new Error('no such album')
          },
        },
        two: { apply: (_: readonly number[]) => Promise.reject(new Error('offline')) },
        three: { apply: (_: readonly number[]) => applied.push('three') },
      },
      onError: error => {
        errors.push(error)
        throw new Error('and so does whoever is told')
      },
    })
    const console_ = vi.spyOn(console, 'error').mockImplementation(() => {})
    pending.add('one', 1)
    pending.add('two', 1)
    pending.add('three', 1)
    await wait(500)
    expect(applied).toEqual(['three'])
    expect(errors.map(error => [error.code, error.message])).toEqual([
      ['handler', 'pending changes of kind one: no such album'],
      ['handler', 'pending changes of kind two: offline'],
    ])
    expect(console_).toHaveBeenCalledTimes(2)
  })

  test('of changes with one key only the newest counts', async () => {
    const { pending, applied } = gallery({ key: change => change.split('=')[0] })
    pending.add('upload', 'a=1', 'b=1', 'a=2')
    await wait(500)
    expect(applied).toEqual([['upload', ['b=1', 'a=2']]])
  })

  test('a change that is made while applying waits for the next run', async () => {
    const runs: (readonly number[])[] = []
    const pending: Pending<{ one: number }> = createPending({
      kinds: {
        one: {
          apply: (changes: readonly number[]) => {
            runs.push(changes)
            if (changes[0] === 1) pending.add('one', 2)
          },
          batch: { leading: true, most: 0 },
        },
      },
    })
    pending.add('one', 1)
    expect(runs).toEqual([[1], [2]])
  })
})

test('flush applies all that waits at once, in order, and resolves when it is done', async () => {
  const { pending, applied } = gallery()
  pending.add('delete', 'd')
  pending.add('upload', 'u')
  const flushed = pending.flush()
  expect(applied).toEqual([
    ['upload', ['u']],
    ['delete', ['d']],
  ])
  await flushed
  await wait(1_000)
  expect(applied).toHaveLength(2)
})

test('clear forgets all that waits, also what a run had yet to come to', async () => {
  const applied: string[] = []
  let finish: () => void = () => {}
  const pending = createPending({
    kinds: {
      one: { apply: (_: readonly number[]) => new Promise<void>(resolve => (finish = resolve)) },
      two: { apply: (_: readonly number[]) => applied.push('two') },
    },
  })
  pending.add('one', 1)
  pending.add('two', 1)
  await wait(500)
  pending.add('two', 2)
  pending.clear()
  expect(pending.size).toBe(0)
  finish()
  await wait(10_000)
  expect(applied).toEqual([])
  pending.add('two', 3)
  await wait(500)
  expect(applied).toEqual(['two'])
})

describe('paused', () => {
  test('nothing is applied, and what became due is applied on resume', async () => {
    const { pending, applied } = gallery()
    pending.pause()
    pending.add('trash', 't')
    pending.add('upload', 'u')
    await wait(60_000)
    expect(applied).toEqual([])
    pending.resume()
    expect(applied).toEqual([
      ['upload', ['u']],
      ['trash', ['t']],
    ])
  })

  test('what is not due yet on resume waits on', async () => {
    const { pending, applied } = gallery()
    pending.pause()
    pending.add('upload', 'u')
    pending.resume()
    expect(applied).toEqual([])
    await wait(500)
    expect(applied).toHaveLength(1)
  })

  test('flush applies, and the pause goes on', async () => {
    const { pending, applied } = gallery()
    pending.pause()
    pending.add('upload', 'u')
    await pending.flush()
    expect(applied).toEqual([['upload', ['u']]])
    pending.add('upload', 'v')
    await wait(1_000)
    expect(applied).toHaveLength(1)
  })

  test('a run that is under way stops between two kinds', async () => {
    const applied: string[] = []
    let finish: () => void = () => {}
    const pending = createPending({
      kinds: {
        one: { apply: (_: readonly number[]) => new Promise<void>(resolve => (finish = resolve)) },
        two: { apply: (_: readonly number[]) => applied.push('two') },
      },
    })
    pending.add('one', 1)
    pending.add('two', 1)
    await wait(500)
    pending.pause()
    finish()
    await wait(1_000)
    expect(applied).toEqual([])
    pending.resume()
    await wait(0)
    expect(applied).toEqual(['two'])
  })

  test('what a run had yet to apply when it was paused still waits: it counts, a flush applies it, and `clear` forgets it', async () => {
    for (const how of ['flush', 'clear'] as const) {
      const applied: string[] = []
      let finish: () => void = () => {}
      const pending = createPending({
        kinds: {
          one: { apply: (_: readonly number[]) => new Promise<void>(resolve => (finish = resolve)) },
          two: { apply: (numbers: readonly number[]) => applied.push(`two ${numbers}`) },
        },
      })
      pending.add('one', 1)
      pending.add('two', 1, 2)
      await wait(500)
      pending.pause()
      expect(pending.size).toBe(2)
      finish()
      await wait(0)
      expect([applied, pending.size]).toEqual([[], 2])
      if (how === 'clear') pending.clear()
      pending.add('two', 3)
      let flushed = false
      void pending.flush().then(() => {
        flushed = true
      })
      await wait(0)
      expect(applied).toEqual(how === 'flush' ? ['two 1,2', 'two 3'] : ['two 3'])
      expect([flushed, pending.size]).toEqual([true, 0])
    }
  })

  test('a flush while one kind is being applied takes in what the run has yet to apply', async () => {
    const applied: string[] = []
    let finish: () => void = () => {}
    const pending = createPending({
      kinds: {
        one: { apply: (_: readonly number[]) => new Promise<void>(resolve => (finish = resolve)) },
        two: { apply: (_: readonly number[]) => applied.push('two') },
      },
    })
    pending.add('one', 1)
    pending.add('two', 1)
    await wait(500)
    pending.pause()
    const flushed = pending.flush()
    finish()
    await flushed
    expect(applied).toEqual(['two'])
  })
})

describe('bounded', () => {
  test('a kind that reaches its limit is applied at once, with those of its clock before it', () => {
    const { pending, applied } = gallery({ limit: 3 })
    pending.add('upload', 'u')
    pending.add('delete', '1', '2', '3', '4')
    expect(applied).toEqual([
      ['upload', ['u']],
      ['delete', ['1', '2', '3']],
    ])
    expect(pending.size).toBe(1)
  })

  test('what comes beyond it while applying takes the place of the oldest, and is reported once', async () => {
    const errors: TidingsError[] = []
    const runs: (readonly number[])[] = []
    let finish: () => void = () => {}
    const pending = createPending({
      kinds: {
        one: {
          apply: (changes: readonly number[]) => {
            runs.push(changes)
            return new Promise<void>(resolve => (finish = resolve))
          },
          limit: 2,
        },
      },
      onError: error => errors.push(error),
    })
    pending.add('one', 1, 2, 3, 4, 5, 6)
    expect(errors.map(error => error.code)).toEqual(['handler'])
    finish()
    await wait(0)
    expect(runs).toEqual([
      [1, 2],
      [5, 6],
    ])
  })

  test('a limit is kept while paused', () => {
    const { pending, applied } = gallery({ limit: 2 })
    pending.pause()
    pending.add('hidden', 'a', 'b')
    expect(applied).toEqual([['hidden', ['a', 'b']]])
  })

  test('ten thousand changes are one list, and one more does not wait', () => {
    const { pending, applied } = gallery()
    for (let number = 1; number < 10_000; number++) pending.add('upload', `${number}`)
    expect(applied).toEqual([])
    pending.add('upload', '10000')
    expect(applied[0]?.[1]).toHaveLength(10_000)
  })
})

describe('attached to a client', () => {
  interface Events {
    on_upload_success: { id: string }
    on_asset_trash: string[]
    AssetUploadReadyV1: { asset: { id: string } }
  }

  function attached() {
    let sink: SourceSink | undefined
    const client = clientOver<Events>({ url: 'https://hub.example/' }, (_, given) => {
      sink = given
      return { want() {}, wake() {}, visible() {}, close() {} }
    })
    const applied: [string, readonly unknown[]][] = []
    const pending = createPending({
      kinds: {
        upload: { apply: (changes: readonly { id: string }[]) => applied.push(['upload', changes]) },
        trash: { apply: (changes: readonly string[]) => applied.push(['trash', changes]) },
      },
    })
    const tell = (...events: [name: string, data: unknown][]) =>
      sink?.batch({
        from: undefined,
        to: undefined,
        frames: events.map(([name, data]) => ({
          type: 'event',
          event: { name, data, topic: '', cursor: undefined, time: undefined },
        })),
      })
    return { client, pending, applied, tell, logOutElsewhere: () => sink?.loggedOut() }
  }

  test('events become changes of the kinds that the map names', async () => {
    const { client, pending, applied, tell } = attached()
    pending.attach(client, {
      on_upload_success: 'upload',
      on_asset_trash: { kind: 'trash', changes: event => event.data },
    })
    tell(['on_asset_trash', ['a', 'b']], ['on_upload_success', { id: 'c' }], ['unknown', 1])
    await wait(500)
    expect(applied).toEqual([
      ['upload', [{ id: 'c' }]],
      ['trash', ['a', 'b']],
    ])
  })

  test('another set of listeners takes over without an event missed or taken twice', async () => {
    const { client, pending, applied, tell } = attached()
    const listening = pending.attach(client, {
      on_upload_success: 'upload',
      on_asset_trash: { kind: 'trash', changes: event => event.data },
    })
    tell(['on_upload_success', { id: 'old' }])
    listening.replace({
      AssetUploadReadyV1: { kind: 'upload', changes: event => [event.data.asset] },
      on_upload_success: 'upload',
    })
    tell(
      ['AssetUploadReadyV1', { asset: { id: 'new' } }],
      ['on_upload_success', { id: 'both' }],
      ['on_asset_trash', ['x']],
    )
    await wait(500)
    expect(applied).toEqual([['upload', [{ id: 'old' }, { id: 'new' }, { id: 'both' }]]])
    listening.detach()
    tell(['AssetUploadReadyV1', { asset: { id: 'late' } }])
    await wait(500)
    expect(applied).toHaveLength(1)
  })

  test.each(['here', 'on another page'])(
    'a logout %s forgets all that waits, and the end of a page does not',
    async where => {
      const { client, pending, applied, tell, logOutElsewhere } = attached()
      pending.attach(client, { on_upload_success: 'upload' })
      tell(['on_upload_success', { id: 'mine' }])
      pending.add('trash', 'by hand')
      if (where === 'here') client.logout()
      else logOutElsewhere()
      expect(pending.size).toBe(0)
      await wait(10_000)
      expect(applied).toEqual([])
      client.reconnect()
      pending.add('trash', 'of the next one')
      client.close()
      await wait(500)
      expect(applied).toEqual([['trash', ['of the next one']]])
    },
  )

  test('what is told with the event at which somebody logs out is not taken any more', async () => {
    const { client, pending, applied, tell } = attached()
    client.on('on_upload_success', () => client.logout())
    pending.attach(client, { on_upload_success: 'upload' })
    tell(['on_upload_success', { id: 'a' }], ['on_upload_success', { id: 'b' }])
    await wait(10_000)
    expect(applied).toEqual([])
  })

  test('who is detached does not hear of a logout', async () => {
    const { client, pending } = attached()
    pending.attach(client, { on_upload_success: 'upload' }).detach()
    pending.add('trash', 'kept')
    client.logout()
    expect(pending.size).toBe(1)
  })

  test('the kinds and their changes are checked by the compiler', () => {
    const { client, pending } = attached()
    expectTypeOf(pending).toExtend<Pending<{ upload: { id: string }; trash: string }>>()
    // @ts-expect-error a list of ids is no upload
    pending.attach(client, { on_asset_trash: 'upload' })
    // @ts-expect-error there is no such kind
    expect(() => pending.add('uplaod', { id: 'a' })).toThrow('no kind of change is named uplaod')
  })
})
