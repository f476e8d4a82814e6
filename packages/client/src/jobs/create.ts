import { environmentOf } from '../environment.js'
import { TidingsError } from '../errors.js'
import { send } from '../request.js'
import { settle } from '../settings.js'
import { Tokens } from '../token.js'
import { forGood } from '../transports/for-good.js'
import { answerOf, initOf, type JobClient, pathOf } from './ask.js'
import type { CreatedJob, Job } from './job.js'
import { byXhr } from './xhr.js'

/** What is to be done (protocol §10.3). */
export interface NewJob {
  readonly kind: string
  /** Makes it idempotent: the same again is the same job. Random if left out. */
  readonly id?: string | undefined
  /** What the worker is told: any JSON. */
  readonly input?: unknown
  /** What the worker is given as a file. */
  readonly file?: Blob | undefined
  /** Who it belongs to; who makes it, if left out. */
  readonly owner?: string | undefined
  /** The grants of those who see it. */
  readonly audience?: readonly string[] | undefined
  /** How many tries there may be. */
  readonly attempts?: number | undefined
  /** How long its worker may be silent: `30s`. */
  readonly lease?: string | undefined
}

export interface CreateJobOptions {
  readonly signal?: AbortSignal | undefined
  /** The same key with the same job is the same job, however often it is sent. */
  readonly idempotencyKey?: string | undefined
  /** The app's profile that it belongs to, where the hub serves several. */
  readonly profile?: string | undefined
  /** How much of the file was sent, from 0 to 1; 1 is told last. Also this is a use of the credential: a provider is asked for one. */
  readonly onUploadProgress?: ((fraction: number) => void) | undefined
}

/** Makes a job. Resolves once no crash takes it back; rejects with a {@link TidingsError}. */
export async function createJob<Result = unknown>(
  client: JobClient,
  job: string | NewJob,
  options: CreateJobOptions = {},
): Promise<CreatedJob<Result>> {
  const { signal, idempotencyKey, profile, onUploadProgress } = options
  const { file, ...described } = typeof job === 'string' ? { kind: job } : job
  const text = JSON.stringify(described)
  const headers = new Headers(file ? {} : { 'content-type': 'application/json' })
  if (idempotencyKey !== undefined) headers.set('idempotency-key', idempotencyKey)
  const init = initOf({ method: 'POST', headers, body: file ? formOf(text, file) : text }, { signal })
  const path = pathOf(client, undefined, '', { profile })
  const answer = await answerOf(client, await post(client, path, init, file && onUploadProgress), signal)
  if ('error' in answer) throw forGood(answer.error)
  const { token, token_expires: expires, ...document } = answer.body
  if (typeof document.id !== 'string' || typeof token !== 'string') {
    throw new TidingsError('protocol', 'the hub answered with something else than a job')
  }
  onUploadProgress?.(1)
  return { job: document as unknown as Job<Result>, token, expires: Number(expires) }
}

/** The parts of protocol §10.3: what the job is comes before the file, which may be long. */
function formOf(job: string, file: Blob): FormData {
  const form = new FormData()
  form.append('job', job)
  form.append('file', file)
  return form
}

/** `fetch` does not tell how much was sent; an XMLHttpRequest does, where there is one. */
function post(
  client: JobClient,
  path: string,
  init: RequestInit,
  onProgress: ((fraction: number) => void) | undefined,
): Promise<Response> {
  const { XMLHttpRequest } = globalThis
  if (!onProgress || !XMLHttpRequest) return client.request(path, init)
  const environment = environmentOf(client.options.environment)
  const fetch = byXhr(XMLHttpRequest, onProgress)
  const tokens = new Tokens(client.options.token, environment)
  return send(path, init, settle(client.options, environment), tokens, { ...environment, fetch })
}
