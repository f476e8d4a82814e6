// @vitest-environment jsdom
import { act, cleanup, renderHook } from '@testing-library/react'
import type { Client } from '@tidings/client'
import { LiveProvider, useJob, useUpload } from '@tidings/react'
import { type ReactNode, StrictMode } from 'react'
import { afterEach, describe, expect, it } from 'vitest'
import {
  type CreatedJob,
  type Job,
  type Jobs,
  JobsContext,
  type UploadSettings,
  type WatchSettings,
} from '../src/jobs.js'
import { FakeClient } from '../src/testing.js'

afterEach(cleanup)

function document(id: string, state: Job['state'], rest: Partial<Job> = {}): Job {
  return { id, kind: 'import', state, attempt: 1, attempts: 3, created: 0, updated: 0, revision: 1, ...rest }
}

/** What waits for an answer of the test. */
interface Pending<Value> {
  resolve(value: Value): void
  reject(error: Error): void
}

function pending<Value>(): Pending<Value> & { promise: Promise<Value> } {
  const all = {} as Pending<Value>
  const promise = new Promise<Value>((resolve, reject) => Object.assign(all, { resolve, reject }))
  return { ...all, promise }
}

class FakeJobs implements Jobs {
  watchers: { id: string; settings: WatchSettings; next: Pending<Job | undefined> }[] = []
  canceled: ({ id: string } & Pending<Job>)[] = []
  uploads: ({ kind: string; settings: UploadSettings } & Pending<CreatedJob>)[] = []

  async *watch(_client: Client, id: string, settings: WatchSettings) {
    for (;;) {
      const next = pending<Job | undefined>()
      const watcher = { id, settings, next }
      this.watchers = [...this.watchers.filter(one => one.settings !== settings), watcher]
      settings.signal?.addEventListener('abort', () => {
        this.watchers = this.watchers.filter(one => one.settings !== settings)
        next.resolve(undefined)
      })
      const job = await next.promise
      if (job === undefined) return
      yield job
    }
  }

  cancel(_client: Client, id: string) {
    const answer = pending<Job>()
    this.canceled.push({ id, ...answer })
    return answer.promise
  }

  upload(_client: Client, kind: string, _file: Blob, settings: UploadSettings) {
    const answer = pending<CreatedJob>()
    this.uploads.push({ kind, settings, ...answer })
    settings.signal.addEventListener('abort', () => answer.reject(new Error('aborted')))
    return answer.promise
  }

  /** Tells the one who watches. */
  tell(job: Job) {
    const [watcher, second] = this.watchers
    if (watcher?.id !== job.id || second !== undefined) throw new Error(`${this.watchers.length} watch`)
    return act(async () => watcher.next.resolve(job))
  }
}

function around(jobs: Jobs, Mode: typeof StrictMode | typeof LiveProvider = StrictMode) {
  const client = new FakeClient()
  const inner = (children: ReactNode) => (
    <JobsContext.Provider value={jobs}>
      <LiveProvider client={client}>{children}</LiveProvider>
    </JobsContext.Provider>
  )
  return ({ children }: { children: ReactNode }) =>
    Mode === StrictMode ? <StrictMode>{inner(children)}</StrictMode> : inner(children)
}

describe('useJob', () => {
  it('shows how far the job is, to its end', async () => {
    const jobs = new FakeJobs()
    const { result } = renderHook(() => useJob('j1', { token: 'tdj_1' }), { wrapper: around(jobs) })
    expect(result.current).toMatchObject({ job: undefined, progress: undefined, state: undefined, canceling: false })
    expect(jobs.watchers[0]?.settings.token).toBe('tdj_1')
    await jobs.tell(document('j1', 'running', { progress: { done: 1, total: 4, fraction: 0.25 } }))
    expect(result.current).toMatchObject({ progress: 0.25, state: 'running' })
    await jobs.tell(document('j1', 'completed', { result: { imported: 4 } }))
    expect(result.current).toMatchObject({ progress: 1, state: 'completed', result: { imported: 4 }, error: undefined })
  })

  it('says why the job failed, or why it can not be watched', async () => {
    const jobs = new FakeJobs()
    const { result, rerender } = renderHook(({ id }) => useJob(id), {
      wrapper: around(jobs),
      initialProps: { id: 'j1' },
    })
    await jobs.tell(document('j1', 'failed', { error: { code: 'bad-file', message: 'no table' } }))
    expect(result.current.error?.message).toBe('no table')
    rerender({ id: 'j2' })
    expect(result.current).toMatchObject({ job: undefined, error: undefined })
    await act(async () => jobs.watchers[0]?.next.reject(new Error('no such job')))
    expect(result.current.error?.message).toBe('no such job')
  })

  it('is canceling until the job has ended, and tells of a cancel that was refused', async () => {
    const jobs = new FakeJobs()
    const { result } = renderHook(() => useJob('j1'), { wrapper: around(jobs) })
    await jobs.tell(document('j1', 'running'))
    let over = false
    act(
      () =>
        void result.current.cancel().then(() => {
          over = true
        }),
    )
    expect([result.current.canceling, over]).toEqual([true, false])
    await act(async () => jobs.canceled[0]?.resolve(document('j1', 'canceled')))
    expect([result.current.canceling, over]).toEqual([true, true])
    await jobs.tell(document('j1', 'canceled'))
    expect(result.current).toMatchObject({ canceling: false, state: 'canceled' })
    let refused: unknown
    act(
      () =>
        void result.current.cancel().catch((error: unknown) => {
          refused = error
        }),
    )
    await act(async () => jobs.canceled[1]?.reject(new Error('already ended')))
    expect(refused).toBe(result.current.error)
    expect(result.current.error?.message).toBe('already ended')
  })

  it('waits for an id, and watches nothing when it is gone', async () => {
    const jobs = new FakeJobs()
    const { rerender, unmount } = renderHook(({ id }) => useJob(id), {
      wrapper: around(jobs),
      initialProps: { id: undefined as string | undefined },
    })
    expect(jobs.watchers).toEqual([])
    rerender({ id: 'j1' })
    expect(jobs.watchers).toHaveLength(1)
    unmount()
    expect(jobs.watchers).toEqual([])
  })
})

describe('useUpload', () => {
  const file = new Blob(['Title\nEmma\n'])

  it('sends the file, says how much is sent, and then watches the job by its own token', async () => {
    const jobs = new FakeJobs()
    const { result } = renderHook(() => useUpload('import'), { wrapper: around(jobs) })
    let made: Job | undefined
    act(
      () =>
        void result.current.upload(file, { sep: ',' }).then(job => {
          made = job
        }),
    )
    expect(result.current).toMatchObject({ uploading: true, progress: 0 })
    expect(jobs.uploads[0]).toMatchObject({ kind: 'import', settings: { input: { sep: ',' } } })
    act(() => jobs.uploads[0]?.settings.onProgress(0.5))
    expect(result.current.progress).toBe(0.5)
    await act(async () => jobs.uploads[0]?.resolve({ job: document('j1', 'queued'), token: 'tdj_1', expires: 0 }))
    expect(made?.id).toBe('j1')
    expect(result.current).toMatchObject({ uploading: false, progress: 1, state: 'queued', jobProgress: undefined })
    expect(jobs.watchers[0]?.settings.token).toBe('tdj_1')
    await jobs.tell(document('j1', 'running', { progress: { done: 1, fraction: 0.1 } }))
    expect(result.current).toMatchObject({ state: 'running', jobProgress: 0.1 })
    act(() => void result.current.cancel())
    expect(jobs.canceled[0]?.id).toBe('j1')
    act(() => result.current.reset())
    expect(result.current).toMatchObject({ job: undefined, progress: 0, error: undefined })
    expect(jobs.watchers).toEqual([])
  })

  it('says why an upload failed', async () => {
    const jobs = new FakeJobs()
    const { result } = renderHook(() => useUpload('import'), { wrapper: around(jobs) })
    let thrown: unknown
    act(
      () =>
        void result.current.upload(file).catch((error: unknown) => {
          thrown = error
        }),
    )
    await act(async () => jobs.uploads[0]?.reject(new Error('too large')))
    expect(result.current).toMatchObject({ uploading: false, error: { message: 'too large' } })
    expect(thrown).toBe(result.current.error)
  })

  it('is called off by cancel, by another upload, and when it is gone', async () => {
    const jobs = new FakeJobs()
    const { result, unmount } = renderHook(() => useUpload('import'), { wrapper: around(jobs) })
    const upload = () => act(async () => void result.current.upload(file).catch(() => {}))
    await upload()
    await act(() => result.current.cancel())
    expect(result.current).toMatchObject({ uploading: false, error: undefined })
    await upload()
    await upload()
    expect(result.current).toMatchObject({ uploading: true, error: undefined })
    unmount()
    expect(jobs.uploads.map(one => one.settings.signal.aborted)).toEqual([true, true, true])
  })
})
