import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { cancelJob, createJob, getJob, jobResult, listJobs, watchJob } from '../src/jobs.js'
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

describe('a cancel', () => {
  test('that is not answered is asked about again, and not without pause', async () => {
    const at = hub()
    let ended: unknown
    void cancelJob(at.client, '42', { token: 'tdj_1' }).then(job => {
      ended = job
    })
    await settled()
    expect([at.last().init.method, at.last().url.href]).toEqual([
      'DELETE',
      'https://hub.example/v1/jobs/42?wait=20000ms',
    ])
    expect(at.last().headers.get('authorization')).toBe('Bearer tdj_1')
    await at.last().reply(202, document({ canceling: true }))
    await at.clock.pass(999)
    expect(at.calls).toHaveLength(1)
    await at.clock.pass(1)
    await at.clock.pass(20_000)
    await at.last().reply(202, document({ canceling: true }))
    await at.clock.pass(0)
    expect(at.calls).toHaveLength(3)
    await at.last().reply(200, document({ state: 'canceled' }))
    expect(ended).toMatchObject({ state: 'canceled' })
  })

  test('that may not be made is an error', async () => {
    const at = hub()
    const canceled = expect(cancelJob(at.client, '42')).rejects.toMatchObject({ code: 'forbidden', status: 403 })
    await settled()
    await at.last().reply(403, { detail: 'may not' })
    await canceled
  })
})

describe('making', () => {
  const CREATED = { ...document({ state: 'queued' }), token: 'tdj_1', token_expires: 99 }

  test('says what is to be done, and gives the document beside its token', async () => {
    const at = hub({ paths: { jobs: 'app/jobs' } })
    const made = createJob(at.client, { kind: 'import', input: [1] }, { profile: 'books', idempotencyKey: 'k' })
    await settled()
    const { url, init, headers } = at.last()
    expect(url.href).toBe('https://hub.example/app/jobs?profile=books')
    expect([init.method, init.body, headers.get('content-type'), headers.get('idempotency-key')]).toEqual([
      'POST',
      '{"kind":"import","input":[1]}',
      'application/json',
      'k',
    ])
    await at.last().reply(201, CREATED)
    expect(await made).toEqual({ job: document({ state: 'queued' }), token: 'tdj_1', expires: 99 })
  })

  test('a file is a part behind what the job is, and where nothing tells how much was sent the end is told', async () => {
    const at = hub()
    const sent: number[] = []
    const made = createJob(
      at.client,
      { kind: 'import', file: new File(['x'], 'a.csv') },
      { onUploadProgress: f => sent.push(f) },
    )
    await settled()
    const parts = [...(at.last().init.body as FormData)]
    expect(parts.map(([name, part]) => [name, part instanceof File ? part.name : part])).toEqual([
      ['job', '{"kind":"import"}'],
      ['file', 'a.csv'],
    ])
    expect(at.last().headers.get('content-type')).toBe(null)
    await at.last().reply(201, CREATED)
    await made
    expect(sent).toEqual([1])
  })

  test('in a browser it is told how much was sent, and an abort ends that', async () => {
    const made: FakeXhr[] = []
    class FakeXhr {
      upload: { onprogress?: (event: object) => void } = {}
      headers: Record<string, string> = {}
      status = 201
      responseText = JSON.stringify(CREATED)
      aborted = false
      onload = () => {}
      onabort = () => {}
      onloadend = () => {}
      where = ''
      withCredentials = false
      constructor() {
        made.push(this)
      }
      open(method: string, url: string) {
        this.where = `${method} ${url}`
      }
      setRequestHeader(name: string, value: string) {
        this.headers[name] = value
      }
      getAllResponseHeaders = () => 'content-type: application/json\r\nx: y\r\n'
      send() {}
      abort() {
        this.aborted = true
        this.onabort()
        this.onloadend()
      }
    }
    vi.stubGlobal('XMLHttpRequest', FakeXhr)
    try {
      const at = hub({ token: 'secret', credentials: 'include' })
      const sent: number[] = []
      const job = { kind: 'import', file: new Blob(['x']) }
      const stop = new AbortController()
      const options = { onUploadProgress: (fraction: number) => sent.push(fraction), signal: stop.signal }
      const done = createJob(at.client, job, options)
      await settled()
      const [xhr] = made
      xhr?.upload.onprogress?.({ lengthComputable: true, loaded: 1, total: 4 })
      xhr?.upload.onprogress?.({ lengthComputable: false, loaded: 9, total: 0 })
      xhr?.onload()
      xhr?.onloadend()
      expect((await done).token).toBe('tdj_1')
      expect(sent).toEqual([0.25, 1])
      expect(xhr).toMatchObject({
        where: 'POST https://hub.example/v1/jobs',
        withCredentials: true,
        headers: { authorization: 'Bearer secret' },
      })
      const second = createJob(at.client, job, options)
      await settled()
      stop.abort()
      await expect(second).rejects.toMatchObject({ code: 'aborted' })
      expect(made[1]?.aborted).toBe(true)
    } finally {
      vi.unstubAllGlobals()
    }
  })

  test.each([
    ['a refusal', 422, { detail: 'no kind' }, { code: 'refused', status: 422 }],
    ['a refusal that heals', 503, {}, { code: 'unavailable', retrying: false }],
    ['something else', 200, { a: 1 }, { code: 'protocol' }],
    ['a page', 200, '<html>', { code: 'content-type' }],
  ])('%s is an error', async (_, status, body, error) => {
    const at = hub()
    const failed = expect(createJob(at.client, 'import')).rejects.toMatchObject({ name: 'TidingsError', ...error })
    await settled()
    await at.last().reply(status, body)
    await failed
  })

  test('where there are no jobs nothing is asked', async () => {
    const at = hub({ paths: { jobs: false } })
    await expect(createJob(at.client, 'import')).rejects.toMatchObject({ code: 'refused' })
    await expect(watchJob(at.client, '42').done).rejects.toMatchObject({ code: 'refused' })
    expect(at.calls).toHaveLength(0)
  })
})

test.each(['cut', 'aborted'] as const)('an answer that is %s midway is an error that says so', async how => {
  for (const ask of [
    (at: Hub, signal: AbortSignal) => getJob(at.client, '42', { signal }),
    (at: Hub, signal: AbortSignal) => createJob(at.client, 'import', { signal }),
  ]) {
    const at = hub()
    const stop = new AbortController()
    const failed = expect(ask(at, stop.signal)).rejects.toMatchObject({
      code: how === 'cut' ? 'network' : 'aborted',
      retrying: false,
    })
    await settled()
    await at.last().stream({ 'content-type': 'application/json' })
    await at.last().send('{"id":"42","sta')
    if (how === 'cut') await at.last().cut()
    else stop.abort()
    await failed
  }
})

test('a result whose pages go in circles ends', async () => {
  const at = hub()
  const read: unknown[] = []
  const reading = (async () => {
    for await (const item of jobResult(at.client, '42', { from: 5 })) read.push(item)
  })()
  await settled()
  await at.last().reply(200, { items: ['a'], count: 9, next: 5 })
  await reading
  expect(read).toEqual(['a'])
})

test('a list says which jobs it wants', async () => {
  const at = hub()
  const listed = listJobs(at.client, { state: 'running', kind: 'import', limit: 3, before: '1-x' })
  await settled()
  expect(at.last().url.search).toBe('?state=running&kind=import&limit=3&before=1-x')
  await at.last().reply(200, { jobs: [document()] })
  expect(await listed).toEqual({ jobs: [document()], before: undefined })
})
