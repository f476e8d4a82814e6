// A replica that was cut off and is back: in which order it learns what it missed.
import { after, test } from 'node:test'
import assert from 'node:assert/strict'
import { startCurl } from './harness/curl.mjs'
import { startFaultProxy } from './harness/faults.mjs'
import { ask } from './harness/jobs.mjs'
import { startNats } from './harness/nats.mjs'
import { keyOf, startReplicas } from './harness/replicas.mjs'
import { until } from './harness/wait.mjs'

const nats = await startNats({ after })

/** How long a link is silent: long enough that a copy of the revocations is read anew, and not so long that the log is. */
const SILENT = 2_500

const FAULTS = {
  'was cut off': { begin: link => link.cut() },
  'heard nothing for a moment': { begin: link => link.blackhole(), lasts: SILENT },
}

for (const [what, { begin, lasts = 0 }] of Object.entries(FAULTS)) test(`who was revoked while a replica ${what} hears nothing there of what was published since`, async t => {
  const links = await Promise.all(['A', 'B'].map(async () => [await startFaultProxy(t, nats.nodes[0].port)]))
  const { replicas: [a, b] } = await startReplicas(t, { nats, hub: `back${lasts}`, nginx: false, links })
  const listen = async who => {
    const stream = startCurl(t, `${b.url}/v1/events?topic=room/*`, () => {}, { headers: { authorization: `Bearer ${keyOf(who)}` }, again: false })
    await until(`${who} to listen`, () => stream.bytes().includes('tidings.open'))
    return stream
  }
  const [stayer, ...leavers] = await Promise.all(['stayer', ...Array(20).fill('leaver')].map(listen))
  const publish = async data => {
    const { status, text } = await ask(`${a.url}/v1/publish`, { token: keyOf('app'), body: { name: 'said', topic: 'room/1', data, audience: ['everyone'] } })
    assert.equal(status, 200, text)
  }
  await publish('before')
  await until('all to hear', () => [stayer, ...leavers].every(stream => stream.bytes().includes('before')))
  begin(links[1][0])
  assert.equal((await ask(`${a.url}/v1/revoke`, { token: keyOf('app'), body: { principal: 'leaver' } })).status, 200)
  await publish('after')
  // What is tested is what happens after so long: later it is another case, which ends in the same way.
  await new Promise(done => setTimeout(done, lasts))
  links[1][0].heal()
  await until('who stays to hear it', () => stayer.bytes().includes('after'))
  await until('who was revoked to be sent away', () => leavers.every(stream => stream.code() !== undefined))
  for (const stream of leavers) {
    assert.match(stream.bytes(), /"revoked"/)
    assert.doesNotMatch(stream.bytes(), /after/)
  }
})
