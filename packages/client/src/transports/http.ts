/** What all requests have in common: addresses, headers, refusals. */

import { safely } from '../failure.js'
import type { Ending, TransportRequest } from '../source.js'
import { LONGEST } from '../timers.js'

/** What the request asks for, as a query (protocol §2.1). */
export function addressOf({ url, query, topics }: TransportRequest, more: Readonly<Record<string, string>>): URL {
  const address = new URL(url)
  const { searchParams } = address
  for (const [name, value] of Object.entries({ ...query, ...more })) searchParams.set(name, value)
  for (const topic of topics ?? []) searchParams.append('topic', topic)
  return address
}

/** The headers of the options, and the credential (RFC 6750 §2.1). */
export function headersOf({ headers, token }: Pick<TransportRequest, 'headers' | 'token'>, accept: string): Headers {
  return safely(() => {
    const all = new Headers(headers)
    all.set('accept', accept)
    if (token !== undefined) all.set('authorization', `Bearer ${token}`)
    return all
  })
}

/** `Retry-After` in ms: seconds or a date (RFC 9110 §10.2.3). */
export function retryAfter(headers: Headers, now: number): number | undefined {
  const value = headers.get('retry-after')
  if (!value) return undefined
  const ms = Number(value) * 1000 || Date.parse(value) - now
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), LONGEST)
}

/** The media type of an answer, without parameters. */
export function mediaType(headers: Headers): string {
  return (headers.get('content-type') ?? '').replace(/\s*;.*/s, '').toLowerCase()
}

/**
 * A refusal, with what it says; `known` is told what is known before that has come. Never rejects.
 *
 * What reads it comes only then: few pages are ever refused.
 */
export async function refusal(response: Response, now: number, known?: (ending: Ending) => void): Promise<Ending> {
  const { status, headers } = response
  const ending = { kind: 'refused', status, problem: undefined, retryAfter: retryAfter(headers, now) } as const
  known?.(ending)
  // A 204 has nothing to say.
  const problem =
    response.body &&
    (await import('./problem.js').then(
      ({ problemOf }) => problemOf(response),
      () => undefined,
    ))
  return { ...ending, problem: problem ?? undefined }
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
