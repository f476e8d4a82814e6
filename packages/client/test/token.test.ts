import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Provider } from '../src/provider.js'
import { Tokens } from '../src/token.js'
import type { Token, TokenProvider } from '../src/types.js'
import { pass, world } from './world.js'

/** A provider whose credentials are named by when they were asked for, and last `life` ms by the clock of the hub. */
function provider(life: number | undefined, ahead = 0) {
  let count = 0
  const give = vi.fn(async (): Promise<Token> => {
    const token = `t${++count}`
    return life === undefined ? { token } : { token, expires: Date.now() + ahead + life }
  })
  return { give, tokens: new Provider(give, world()) }
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    error => error.code,
  )

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('a credential that is given as it is', () => {
  it('is always the same', async () => {
    const tokens = new Tokens('t', world())
    expect(await tokens.get(false)).toEqual({ token: 't' })
    expect(await tokens.get(true)).toEqual({ token: 't' })
    expect(await new Tokens(undefined, world()).get(false)).toBeUndefined()
    expect(await new Tokens('', world()).get(false)).toBeUndefined()
  })
})

describe('a provider', () => {
  it('is asked once, and again when what it gave was refused', async () => {
    const { give, tokens } = provider(undefined)
    await tokens.get(false)
    await pass(3_600_000)
    expect(await tokens.get(false)).toEqual({ token: 't1' })
    expect(await tokens.get(true)).toEqual({ token: 't2' })
    expect(give).toHaveBeenCalledTimes(2)
  })

  it.each([
    [3_600_000, 30_000],
    [60_000, 6_000],
  ])('is asked for another %i ms credential %i ms before it is over', async (life, margin) => {
    const { tokens } = provider(life)
    await tokens.get(false)
    await pass(life - margin - 1)
    expect((await tokens.get(false))?.token).toBe('t1')
    await pass(1)
    expect((await tokens.get(false))?.token).toBe('t2')
  })

  it('is asked once by all who ask together, also who was refused', async () => {
    let answer: (token: string) => void = () => {}
    const give = vi.fn(
      () =>
        new Promise<string>(resolve => {
          answer = resolve
        }),
    )
    const tokens = new Provider(give, world())
    const asked = [tokens.get(false), tokens.get(true), tokens.get(false)]
    answer('t')
    expect(await Promise.all(asked)).toEqual(Array(3).fill({ token: 't' }))
    expect(give).toHaveBeenCalledOnce()
  })

  it.each([
    ['null', null],
    ['undefined', undefined],
    ['an empty string', ''],
  ])('may give none: %s', async (_, nothing) => {
    const give = vi.fn(() => nothing)
    const tokens = new Provider(give, world())
    expect(await tokens.get(false)).toBeUndefined()
    expect(await tokens.get(false)).toBeUndefined()
    expect(give).toHaveBeenCalledOnce()
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('down')
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('down')
      },
    ],
    ['gives a number', (() => 7) as unknown as TokenProvider],
    ['gives an object without a token', (() => ({})) as unknown as TokenProvider],
    ['gives an end that is no time', () => ({ token: 't', expires: Number.NaN })],
  ])('that %s is an error `token`, and is asked again the next time', async (_, give: TokenProvider) => {
    const asked = vi.fn(give)
    const tokens = new Provider(asked, world())
    expect(await codeOf(tokens.get(false))).toBe('token')
    expect(await codeOf(tokens.get(false))).toBe('token')
    expect(asked).toHaveBeenCalledTimes(2)
  })

  it('is stopped when the last of those who wait is gone', async () => {
    const signals: AbortSignal[] = []
    const give: TokenProvider = signal => {
      signals.push(signal)
      return new Promise(() => {})
    }
    const tokens = new Provider(give, world())
    const [one, other] = [new AbortController(), new AbortController()]
    const first = codeOf(tokens.get(false, one.signal))
    const second = codeOf(tokens.get(false, other.signal))
    one.abort()
    expect(await first).toBe('aborted')
    expect(signals[0]?.aborted).toBe(false)
    other.abort()
    expect(await second).toBe('aborted')
    expect(signals[0]?.aborted).toBe(true)
    expect(await codeOf(tokens.get(false, AbortSignal.abort()))).toBe('aborted')
    expect(signals).toHaveLength(1)
  })

  it('that hangs is given up after 10 s with an error `token`, and is asked again the next time', async () => {
    const signals: AbortSignal[] = []
    const give = vi.fn<TokenProvider>(signal => {
      signals.push(signal)
      return new Promise(() => {})
    })
    const tokens = new Provider(give, world())
    const asked = codeOf(tokens.get(false))
    await pass(9_999)
    expect(signals[0]?.aborted).toBe(false)
    await pass(1)
    expect(await asked).toBe('token')
    expect(signals[0]?.aborted).toBe(true)
    give.mockImplementation(() => 't')
    expect(await tokens.get(false)).toEqual({ token: 't' })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is stopped, and its credential forgotten, by a logout', async () => {
    const { give, tokens } = provider(undefined)
    await tokens.get(false)
    tokens.forget()
    expect((await tokens.get(false))?.token).toBe('t2')
    give.mockImplementation(() => new Promise(() => {}))
    const asked = codeOf(tokens.get(true))
    tokens.forget()
    expect(await asked).toBe('aborted')
  })
})

describe('a clock', () => {
  it('that is behind is found out by the second refusal of what should be good', async () => {
    // The hub's clock is 10 minutes behind ours the other way: what it calls 20 minutes looks like 30.
    const { give, tokens } = provider(1_200_000, 600_000)
    await tokens.get(false)
    for (const life of ['first', 'second']) {
      await pass(1_199_999)
      expect((await tokens.get(false))?.token, life).toBe(`t${give.mock.calls.length}`)
      await pass(1)
      // The hub: 401.
      await tokens.get(true)
    }
    expect(give).toHaveBeenCalledTimes(3)
    await pass(1_169_999)
    expect((await tokens.get(false))?.token).toBe('t3')
    await pass(1)
    expect((await tokens.get(false))?.token).toBe('t4')
  })

  it('that is ahead makes no loop: what is new is tried, and the hub says when it is over', async () => {
    const { give, tokens } = provider(600_000, -3_600_000)
    expect(await tokens.get(false)).toEqual({ token: 't1' })
    await pass(500_000)
    expect(await tokens.get(false)).toEqual({ token: 't1' })
    expect(give).toHaveBeenCalledOnce()
  })

  it.each([
    ['at once', [0]],
    ['after 5 s', [5_000]],
    ['again and again within a minute', [5_000, 5_000, 59_999, 59_999]],
    ['in mid-life', [900_000]],
    ['twice, at different ages', [900_000, 960_000]],
  ])('is not blamed for a credential of an hour that is refused %s', async (_, ages) => {
    const { give, tokens } = provider(3_600_000)
    await tokens.get(false)
    for (const age of ages) {
      await pass(age)
      await tokens.get(true)
    }
    const asked = give.mock.calls.length
    for (let minutes = 0; minutes < 59; minutes++) {
      await tokens.get(false)
      await pass(60_000)
    }
    expect(give).toHaveBeenCalledTimes(asked)
  })

  it('is not blamed when one that was refused is followed by one that is not, and then by one that is', async () => {
    const { tokens } = provider(3_600_000)
    await tokens.get(false)
    await pass(900_000)
    await tokens.get(true)
    await pass(3_600_000)
    await tokens.get(false)
    await pass(900_000)
    const { expires } = (await tokens.get(true)) ?? {}
    expect((expires ?? 0) - Date.now()).toBe(3_600_000)
  })

  it('that was blamed wrongly is believed again after a refusal at another age', async () => {
    const { tokens } = provider(3_600_000)
    await tokens.get(false)
    for (const age of [900_000, 900_000, 300_000]) {
      await pass(age)
      await tokens.get(true)
    }
    const { expires } = (await tokens.get(false)) ?? {}
    expect((expires ?? 0) - Date.now()).toBe(3_600_000)
  })

  it('is told by the ends that are handed out as ours', async () => {
    const { tokens } = provider(1_200_000, 600_000)
    await tokens.get(false)
    await pass(1_200_000)
    await tokens.get(true)
    await pass(1_200_000)
    const { expires } = (await tokens.get(true)) ?? {}
    expect((expires ?? 0) - Date.now()).toBe(1_200_000)
  })
})

describe('a credential that was refused', () => {
  it('is not given again, also while there is no other', async () => {
    const { give, tokens } = provider(3_600_000)
    await tokens.get(false)
    give.mockRejectedValueOnce(new Error('down'))
    expect(await codeOf(tokens.get(true))).toBe('token')
    expect((await tokens.get(false))?.token).toBe('t2')
  })

  it('is not asked for again by the second who was refused with it', async () => {
    vi.useRealTimers()
    let count = 0
    const tokens = new Tokens(() => `t${++count}`, world())
    const old = await tokens.get(false)
    await tokens.renew(old)
    expect(await tokens.renew(old)).toEqual({ token: 't2' })
    expect(count).toBe(2)
  })
})
