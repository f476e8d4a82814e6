import { judge } from '../ending.js'
import { environmentOf } from '../environment.js'
import { TidingsError } from '../errors.js'
import { aborted, reasonOf } from '../failure.js'
import { forGood } from '../transports/for-good.js'
import { isObject, mediaType } from '../transports/http.js'
import { refusal } from '../transports/problem.js'
import type { Client } from '../types.js'

/** What is needed of a client. */
export type JobClient = Pick<Client, 'options' | 'request'>

/** What each request about jobs may say. */
export interface JobRequestOptions {
  /** The job's own token; the client's credential counts if left out. */
  readonly token?: string | undefined
  readonly signal?: AbortSignal | undefined
}

/** An answer of the hub. */
export interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

/** A refusal, and after how many ms the hub wants to be asked again. */
export interface Refusal {
  readonly error: TidingsError
  readonly least: number
}

/** Where jobs are, relative to the hub's URL; one of them if `id` is given. Throws where the options say that there are none. */
export function pathOf(
  client: JobClient,
  id?: string,
  part = '',
  query: Readonly<Record<string, unknown>> = {},
): string {
  const base = client.options.paths?.jobs ?? 'v1/jobs'
  if (base === false) throw new TidingsError('refused', 'the option `paths.jobs` says that this hub has no jobs')
  const parameters = Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, `${value}`]]))
  const search = parameters.length > 0 ? `?${new URLSearchParams(parameters)}` : ''
  return `${base}${id === undefined ? '' : `/${encodeURIComponent(id)}`}${part}${search}`
}

/** Asks the hub. Rejects with a {@link TidingsError}; one of a refusal has its status and its problem. */
export async function ask(
  client: JobClient,
  path: string,
  init: RequestInit,
  options: JobRequestOptions,
): Promise<Answer> {
  const answer = await answerOf(client, await client.request(path, initOf(init, options)), options.signal)
  if ('error' in answer) throw forGood(answer.error)
  return answer
}

/** A request as `fetch` takes it. */
export function initOf(init: RequestInit, { token, signal }: JobRequestOptions): RequestInit {
  const headers = new Headers(init.headers)
  headers.set('accept', 'application/json')
  if (token !== undefined) headers.set('authorization', `Bearer ${token}`)
  return { ...init, headers, ...(signal && { signal }) }
}

/** The JSON of an answer, or its refusal. Rejects where it is not a hub's, or does not come whole. */
export async function answerOf(
  client: JobClient,
  response: Response,
  signal: AbortSignal | undefined,
): Promise<Answer | Refusal> {
  const { status } = response
  if (!response.ok) {
    const { now } = environmentOf(client.options.environment)
    const { error, least = 0 } = judge(await refusal(response, now()), undefined, true)
    return { error, least }
  }
  const contentType = mediaType(response.headers)
  // What is no JSON, or not by its own word, comes from a proxy.
  const body = contentType === 'application/json' ? jsonOf(await textOf(response, signal)) : undefined
  if (isObject(body)) return { status, body }
  throw forGood(judge({ kind: 'content-type', contentType }, undefined, true).error)
}

async function textOf(response: Response, signal: AbortSignal | undefined): Promise<string> {
  try {
    return await response.text()
  } catch (cause) {
    if (signal?.aborted) throw aborted(signal)
    throw new TidingsError('network', `the answer was cut off: ${reasonOf(cause)}`, { cause })
  }
}

/** What a text says as JSON; `undefined` if it is none. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
