// Jobs as a test plays them: a worker by plain HTTP, which says each thing when the test wants it said.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { root, startHub } from './hub.mjs'
import { copyProfile } from './profile.mjs'

/** The key of the workers. */
export const WORKER = 'tdg_the-key-of-the-workers'

/** A hub that serves the book service's profile. With `changes` it is a copy of the profile with these replaced. */
export async function startBooks(t, { variants = [], values = {}, changes, env, more = '' } = {}) {
  const home = changes ? (await copyProfile(t, 'bookstrack', changes)).home : join(root, 'profiles/bookstrack')
  return startHub(t, {
    env,
    config: `
      [[auth.sources]]
      kind = "api-key"
      keys = [{ name = "workers", value = "${WORKER}", grants = ["bookstrack/work/*"] }]

      [[auth.sources]]
      kind = "job-token"

      ${more}
      [[profiles]]
      path = "${home}"
      variants = ${JSON.stringify(variants)}
      values = { ${Object.entries(values).map(([name, value]) => `${name} = ${JSON.stringify(value)}`).join(', ')} }
    `,
  })
}

/** One request with a JSON body, if any: `{status, headers, body}`, the body as JSON where it is. */
export async function ask(url, { method, token, body, headers = {}, ...more } = {}) {
  const response = await fetch(url, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers, ...(body === undefined || body instanceof FormData ? {} : { 'content-type': 'application/json' }) },
    body: body === undefined || body instanceof FormData || typeof body === 'string' ? body : JSON.stringify(body),
    ...more,
  })
  const text = await response.text()
  let json = text
  try { json = JSON.parse(text) } catch { /* It is no JSON, then. */ }
  return { status: response.status, headers: response.headers, body: json, text }
}

/** A form with one file. */
export function form(text, { name = 'books.csv', type = 'text/csv', part = 'file' } = {}) {
  const form = new FormData()
  form.append(part, new Blob([text], { type }), name)
  return form
}

/** Claims the next job of a kind, and gives what its worker can say. The lease is longer than a test that stands still. */
export async function claim(hub, kind, { lease = '10m', key = WORKER, profile = 'bookstrack' } = {}) {
  const claimed = await ask(`${hub.url}/v1/jobs/claim${profile ? `?profile=${profile}` : ''}`, { token: key, body: { kinds: [kind], wait: '50s', lease } })
  assert.equal(claimed.status, 200, claimed.text)
  return new Worker(hub, claimed.body)
}

class Worker {
  constructor(hub, { job, lease }) {
    Object.assign(this, { hub, job, lease, items: 0 })
  }

  async #say(what, body) {
    const answer = await ask(`${this.hub.url}/v1/jobs/${this.job.id}/${what}`, { token: this.lease, body })
    assert.ok(answer.status < 300, `${what}: ${answer.status} ${answer.text}`)
    return answer.body
  }

  progress(done, total, more) { return this.#say('progress', { done, total, ...more }) }
  /** Hands over items behind those that are there. */
  async hand(items, { tell = false } = {}) {
    const answer = await this.#say(`items?from=${this.items}&tell=${tell}`, items)
    this.items += items.length
    return answer
  }
  /** Waits for what there is to hear, a cancel above all. */
  heartbeat(wait) { return this.#say('heartbeat', { wait }) }
  complete(result) { return this.#say('complete', { result }) }
  fail(code, message, retryable = false) { return this.#say('fail', { error: { code, message, retryable } }) }
  canceled() { return this.#say('canceled', {}) }
  file() { return ask(`${this.hub.url}/v1/jobs/${this.job.id}/file`, { token: this.lease }) }
}
