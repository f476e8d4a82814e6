// A replica that is cut off from NATS, as a test looks at it.
import assert from 'node:assert/strict'
import { startCurl } from './curl.mjs'
import { keyOf } from './replicas.mjs'
import { until } from './wait.mjs'

/** One publish, as it is answered. */
export async function publish(replica, n = 0) {
  const answer = await fetch(`${replica.url}/v1/publish`, {
    method: 'POST',
    headers: { authorization: `Bearer ${keyOf('app')}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'tried', topic: 'elsewhere', data: { n } }),
  })
  return { status: answer.status, retryAfter: answer.headers.get('retry-after'), body: await answer.text() }
}

/** Waits until a replica knows that it is cut off: publishes are refused in a way that says when to come back. */
export async function isCutOff(replica) {
  await replica.becomes(503)
  const { status, retryAfter, body } = await publish(replica)
  assert.equal(status, 503, body)
  assert.match(retryAfter ?? '', /^\d+$/)
  assert.match(body, /urn:tidings:problem:/)
}

/** A listener that counts what comes into its silence. */
export async function startQuiet(t, replica) {
  const quiet = startCurl(t, `${replica.url}/v1/events?topic=nothing`, () => {}, { headers: { authorization: `Bearer ${keyOf('reader')}` }, again: false })
  await until('the quiet stream to open', () => quiet.bytes().includes('tidings.open'))
  const beats = () => quiet.bytes().match(/^:/gm)?.length ?? 0
  return {
    code: quiet.code,
    /** Waits for so many more heartbeats. */
    async beats(more) {
      const goal = beats() + more
      await until(`${goal} heartbeats`, () => beats() >= goal)
    },
  }
}

/** Settings with which a heartbeat comes soon. */
export const BEATS = { TIDINGS_API__HEARTBEAT_EVERY: '1s' }
