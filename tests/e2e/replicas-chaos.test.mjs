// `make replicas` in short: replicas and NATS nodes are killed in turn under load, and the checker finds nothing.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'

const KILLS = ['replica A: kill -9', 'replica B: kill -9', 'replica A: SIGTERM', 'replica B: SIGTERM', 'NATS n1: kill -9', 'leaver-1 was revoked']

test('while everything is killed in turn, nothing is missing, doubled, out of order or told to who was shut out', async t => {
  // A NATS node not too often: where it led, its cluster takes up to 9 s to find another leader.
  const child = spawn(process.execPath, [new URL('replicas.mjs', import.meta.url).pathname], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, MINUTES: '5', EACH: '1', REPLICA_EVERY: '4', NODE_EVERY: '15', REVOKE_EVERY: '8', REVOKED_WITHIN: '30' },
  })
  let [out, isOver] = ['', false]
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => {
    out += text
    // Told so, it publishes no more and gives its verdict.
    if (!isOver && KILLS.every(name => out.includes(name))) isOver = child.kill('SIGTERM')
  })
  const ended = once(child, 'close')
  // Told to end, it takes its servers with it.
  t.after(async () => { child.kill('SIGTERM'); await ended })
  const [code] = await ended
  assert.equal(code, 0, out)
  assert.match(out, /good {2}nothing missing, doubled or out of order: \d+ events acknowledged/)
  for (const name of KILLS) assert.ok(out.includes(name), `${name} is missing in\n${out}`)
})
