// The live page reads streams by itself, as EventSource tells only of names it was asked for. Its parser is held to a
// published one.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createParser as createReference } from 'eventsource-parser'
import { root } from './harness/hub.mjs'

/** Numbers that look random and are the same each time (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

test("the live page's parser reads any stream, cut anywhere, as a published parser does", async () => {
  const html = await readFile(join(root, 'crates/server/src/page/index.html'), 'utf8')
  const source = /function createParser[\s\S]*?\n}\n/.exec(html)[0]
  const createParser = new Function(`${source}; return createParser`)()

  const parts = [
    'event: a', 'event:b', 'event', 'data: 1', 'data:2', 'data:  two spaces', 'data', 'data:', 'id: x-1', 'id:', 'id: nul\0',
    'retry: 50', 'retry: no', ': comment', ':', 'unknown: field', ' data: not a field', 'data: ü€😀', '', '', '',
  ]
  const ends = ['\n', '\r\n', '\r']
  for (let seed = 1; seed <= 2000; seed++) {
    const next = random(seed)
    const pick = list => list[Math.floor(next() * list.length)]
    const end = pick(ends)
    let stream = ''
    for (let lines = 1 + next() * 12; lines > 0; lines--) stream += pick(parts) + (next() < 0.9 ? end : pick(ends))
    stream += '\n\n'

    const pieces = []
    for (let at = 0; at < stream.length;) {
      const length = 1 + Math.floor(next() * 8)
      pieces.push(stream.slice(at, at + length))
      at += length
    }
    const mine = [], theirs = [], myRetries = [], theirRetries = []
    const parse = createParser(({ name, data }) => mine.push([name, data]), ms => myRetries.push(ms))
    const reference = createReference({
      onEvent: ({ event, data }) => theirs.push([event || 'message', data]),
      onRetry: ms => theirRetries.push(ms),
    })
    for (const piece of pieces) { parse(piece); reference.feed(piece) }
    assert.deepEqual([mine, myRetries], [theirs, theirRetries], `seed ${seed}: ${JSON.stringify(pieces)}`)
  }
})
