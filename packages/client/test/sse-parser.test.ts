import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type SseBlock, sseParser } from '../src/sse-parser.js'

const encoder = new TextEncoder()

/** What a parser makes of a text that comes in these pieces. */
function parse(pieces: readonly (string | Uint8Array)[], limit?: number) {
  const blocks: SseBlock[] = []
  const retries: number[] = []
  const feed = sseParser({ block: block => blocks.push(block), retry: ms => retries.push(ms) }, limit)
  for (const piece of pieces) feed(typeof piece === 'string' ? encoder.encode(piece) : piece)
  return { blocks, retries }
}

const block = (more: Partial<SseBlock>): SseBlock => ({
  name: '',
  data: undefined,
  id: undefined,
  topic: '',
  time: undefined,
  ...more,
})

/** A small random generator with a seed (mulberry32), so that a failure comes again. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Bytes that are like a stream, with all that is odd about one. */
function oddStream(next: () => number): Uint8Array {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T
  const fields = ['data', 'data', 'event', 'id', 'retry', 'topic', 'time', '', 'Data', ' data', 'unknown', 'dat']
  const values = [
    '',
    '1',
    '{"a":1}',
    ' two',
    '\0',
    'a\0b',
    'ü',
    '🦊',
    '12x',
    '-1',
    '3000',
    ':',
    'book/42',
    '\u2028',
    '\uFEFF',
  ]
  const ends = ['\n', '\r', '\r\n', '\n\n', '\r\r', '\r\n\r\n', '\n\r', '\r\n\n']
  let text = pick(['', '', '\uFEFF'])
  for (let lines = Math.floor(next() * 30); lines > 0; lines--) {
    text += pick(fields) + pick([':', ': ', ':', '']) + pick(values) + pick(values) + pick(ends)
  }
  const bytes = encoder.encode(text)
  // Also bytes that are no UTF-8.
  for (let broken = next() < 0.3 ? 3 : 0; broken > 0 && bytes.length > 0; broken--) {
    bytes[Math.floor(next() * bytes.length)] = 128 + Math.floor(next() * 128)
  }
  return bytes
}

describe('the standard (WHATWG HTML §9.2.6)', () => {
  test('the examples of the standard come out as it says', () => {
    expect(parse(['data: YHOO\ndata: +2\ndata: 10\n\n']).blocks).toEqual([block({ data: 'YHOO\n+2\n10' })])
    expect(
      parse([': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n']).blocks,
    ).toEqual([
      block({ data: 'first event', id: '1' }),
      block({ data: 'second event', id: '' }),
      block({ data: ' third event' }),
    ])
    expect(parse(['data\n\ndata\ndata\n\ndata:']).blocks).toEqual([block({ data: '' }), block({ data: '\n' })])
    expect(parse(['data:test\n\ndata: test\n\n']).blocks).toEqual([block({ data: 'test' }), block({ data: 'test' })])
  })

  test('a block without data is told for its id alone, and one with neither not at all', () => {
    expect(parse(['event: a\n\nid: 7\n\nevent: b\nretry: 5\n\n'])).toEqual({
      blocks: [block({ id: '7' })],
      retries: [5],
    })
  })

  test('an id with NUL is ignored, and the one before it in the block stays', () => {
    expect(parse(['id: 1\nid: 2\0\ndata: x\n\n']).blocks).toEqual([block({ id: '1', data: 'x' })])
  })

  test('retry takes digits alone', () => {
    expect(parse(['retry: 10\nretry: 1.5\nretry: -1\nretry:\nretry: 1e3\nretry:  5\nretry: 0\n']).retries).toEqual([
      10, 0,
    ])
  })

  test('what has no blank line at the end is dropped', () => {
    expect(parse(['data: 1\n\ndata: 2\n']).blocks).toEqual([block({ data: '1' })])
  })

  test('one byte order mark is taken off at the begin, and none elsewhere', () => {
    expect(parse(['\uFEFFdata: \uFEFFx\n\n']).blocks).toEqual([block({ data: '\uFEFFx' })])
    expect(parse(['\uFEFF\uFEFFdata: x\n\n']).blocks).toEqual([])
  })

  test('names of fields are told apart by case, and unknown ones passed over', () => {
    expect(parse(['Data: x\n data: y\nfoo: z\ndata: 1\n\n']).blocks).toEqual([block({ data: '1' })])
  })
})

test('topic and time of protocol §2.3 are read, and belong to their block alone', () => {
  expect(
    parse(['event: a\ntopic: book/42\ntime: 1768600000000\ndata: 1\nid: x-1\n\ntime: soon\ndata: 2\n\n']).blocks,
  ).toEqual([block({ name: 'a', topic: 'book/42', time: 1768600000000, data: '1', id: 'x-1' }), block({ data: '2' })])
})

describe('the frames of the protocol', () => {
  const fixtures = JSON.parse(readFileSync(new URL('../../../protocol/fixtures/sse.json', import.meta.url), 'utf8'))
  test.each<{ what: string; event: { name: string; data: string; id?: string }; bytes: string }>(fixtures.frames)(
    '$what',
    ({ event, bytes }) => {
      expect(parse([bytes]).blocks).toEqual([
        block({
          name: event.name.replace(/[\r\n\0]/g, ''),
          data: event.data.replace(/\r\n?/g, '\n'),
          ...(event.id && { id: event.id }),
        }),
      ])
    },
  )
})

test('however the bytes are cut, the result is the same', () => {
  for (let seed = 1; seed <= 2_000; seed++) {
    const next = random(seed)
    const bytes = oddStream(next)
    const whole = parse([bytes])
    const pieces: Uint8Array[] = []
    for (let at = 0; at < bytes.length; ) {
      const size = next() < 0.2 ? 0 : 1 + Math.floor(next() * (next() < 0.5 ? 2 : 20))
      pieces.push(bytes.subarray(at, at + size))
      at += size
    }
    expect(parse(pieces), `seed ${seed}`).toEqual(whole)
    expect(parse([...bytes].map(byte => Uint8Array.of(byte))), `seed ${seed}, byte by byte`).toEqual(whole)
  }
})

describe('bounds', () => {
  const tooLarge = { code: 'protocol', message: expect.stringContaining('larger than 100 characters') }
  const fails = (pieces: readonly string[]) => {
    try {
      return parse(pieces, 100)
    } catch (error) {
      return error
    }
  }
  const long = 'x'.repeat(60)

  test('a block over the limit is a protocol error: of one line, of many, or of a line that never ends', () => {
    expect(fails([`data: ${long}${long}\n\n`])).toMatchObject(tooLarge)
    expect(fails([`data: ${long}\n`, `data: ${long}\n`])).toMatchObject(tooLarge)
    expect(fails([`data: ${long}`, long])).toMatchObject(tooLarge)
    expect(fails([`: ${long}`, long])).toMatchObject(tooLarge)
  })

  test('what came before it is handed over', () => {
    const blocks: SseBlock[] = []
    const feed = sseParser({ block: block => blocks.push(block), retry() {} }, 100)
    expect(() => feed(encoder.encode(`data: 1\n\ndata: ${long}${long}`))).toThrow()
    expect(blocks).toEqual([block({ data: '1' })])
  })

  test('blocks, comments and fields don’t add up', () => {
    const { blocks } = parse(
      Array.from({ length: 1_000 }, () => [`: ${long}\n`, `event: ${long}\n`, 'data: 1\n\n']).flat(),
      100,
    )
    expect(blocks).toHaveLength(1_000)
    expect(() =>
      parse(
        Array.from({ length: 1_000 }, () => `: ${long}\n`),
        100,
      ),
    ).not.toThrow()
  })
})

// Nothing is timed here. What is quadratic takes minutes for these, and runs into the bound of any test.
test('a line of 15 MiB in small pieces is read', () => {
  const piece = encoder.encode('x'.repeat(512))
  const pieces = Array.from({ length: 30_000 }, () => piece)
  expect(parse(['data: ', ...pieces, '\n\n']).blocks[0]?.data?.length).toBe(30_000 * 512)
})

test('an event of 500,000 lines is read', () => {
  expect(parse([`${'data: x\n'.repeat(500_000)}\n`]).blocks[0]?.data?.length).toBe(999_999)
})

test('a burst of 100,000 events is read', () => {
  const event = (n: number) =>
    `event: book.updated\ntopic: book/${n}\ntime: 1768600000000\ndata: {"id":${n}}\nid: 9f3c2a1b-${n}\n\n`
  const { blocks } = parse([Array.from({ length: 100_000 }, (_, n) => event(n)).join('')])
  expect(blocks).toHaveLength(100_000)
  expect(blocks.at(-1)?.id).toBe('9f3c2a1b-99999')
})
