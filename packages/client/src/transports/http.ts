/** What all requests have in common: addresses and headers. */

import { safely } from '../failure.js'
import type { TransportRequest } from '../source.js'

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

/** The media type of an answer, without parameters. */
export function mediaType(headers: Headers): string {
  return (headers.get('content-type') ?? '').replace(/\s*;.*/s, '').toLowerCase()
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
