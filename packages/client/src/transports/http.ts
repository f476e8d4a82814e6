/** What all requests have in common: addresses, headers, refusals. */

import type { Problem } from '../errors.js'
import type { Ending, TransportRequest } from '../source.js'

/** The most of a problem document that is read, in UTF-16 code units: it is a sentence or two. */
const PROBLEM_LIMIT = 64 << 10

/** The longest that a browser's timer waits, in ms; one that is longer ends at once. */
export const LONGEST_WAIT: number = 2 ** 31 - 1

/** What the request asks for, as a query (protocol §2.1). */
export function addressOf({ url, query, topics }: TransportRequest, more: Readonly<Record<string, string>>): URL {
  const address = new URL(url)
  const { searchParams } = address
  for (const [name, value] of Object.entries({ ...query, ...more })) searchParams.set(name, value)
  for (const topic of topics ?? []) searchParams.append('topic', topic)
  return address
}

/** The headers of the options, and the credential (RFC 6750 §2.1). */
export function headersOf(request: TransportRequest, accept: string): Headers {
  const headers = new Headers(request.headers)
  headers.set('accept', accept)
  if (request.token !== undefined) headers.set('authorization', `Bearer ${request.token}`)
  return headers
}

/** `Retry-After` in ms: seconds or a date (RFC 9110 §10.2.3). */
export function retryAfter(headers: Headers, now: number): number | undefined {
  const value = headers.get('retry-after')
  if (!value) return undefined
  const ms = Number(value) * 1000 || Date.parse(value) - now
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), LONGEST_WAIT)
}

/** The media type of an answer, without parameters. */
export function mediaType(headers: Headers): string {
  return (headers.get('content-type') ?? '').replace(/\s*;.*/s, '').toLowerCase()
}

/** A refusal, with what it says; `known` is told what is known before that has come. Never rejects. */
export async function refusal(response: Response, now: number, known?: (ending: Ending) => void): Promise<Ending> {
  const { status, headers } = response
  const ending = { kind: 'refused', status, problem: undefined, retryAfter: retryAfter(headers, now) } as const
  known?.(ending)
  return { ...ending, problem: await problemOf(response) }
}

/** The problem document of an answer (RFC 9457), if it has one that is none too large. Never rejects. */
async function problemOf(response: Response): Promise<Problem | undefined> {
  try {
    // Profiles refuse with their app's own body, which may be plain JSON; a page of a proxy is not read.
    const isJson = mediaType(response.headers).endsWith('json')
    const problem: unknown = JSON.parse((await textOf(response, isJson ? PROBLEM_LIMIT : 0)) ?? '')
    return isObject(problem) ? problem : undefined
  } catch {
    return undefined
  }
}

/** The body as text; `undefined` where it is longer than `limit` UTF-16 code units, and then the rest of it is not fetched. */
export async function textOf(response: Response, limit: number): Promise<string | undefined> {
  const reader = response.body?.getReader()
  const decoder = new TextDecoder()
  let text = ''
  try {
    while (text.length <= limit) {
      const chunk = await reader?.read()
      if (!chunk || chunk.done) return text
      text += decoder.decode(chunk.value, { stream: true })
    }
    return undefined
  } finally {
    drop(reader)
  }
}

/** Gives up what is left of a body. */
export function drop(body: { cancel(): Promise<void> } | null | undefined): void {
  // It fails where the stream has failed already, and that is known.
  body?.cancel().catch(() => {})
}

/** Whether it is a JSON object. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
