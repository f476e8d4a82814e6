import type { Ending, TransportRequest } from '../source.js'
import type { Environment } from '../types.js'
import { addressOf, drop, headersOf } from './http.js'
import { refusal } from './problem.js'

/** A refusal that the poll endpoint would give for the same reason: it is about who asks, and how often. */
const TELLING = (status: number): boolean => [401, 403, 408, 425, 429].includes(status) || status >= 500

/**
 * Why a connection was not made, where nothing says so: the same credential is asked for a poll. Never rejects.
 *
 * Where that is let in, or nobody polls there, it is the transport itself that does not get through.
 */
export async function probe(request: TransportRequest, environment: Environment, signal: AbortSignal): Promise<Ending> {
  const poll = { ...request, url: request.probe ?? new URL('poll', request.url) }
  try {
    const headers = headersOf(request, 'application/json')
    const init = { headers, credentials: request.credentials, cache: 'no-store', signal } as const
    const response = await environment.fetch(addressOf(poll, { wait: '0' }), init)
    if (TELLING(response.status)) return await refusal(response, environment.now())
    drop(response.body)
    const cause = new Error(`it does not get through, while a request is answered ${response.status}`)
    return { kind: 'ended', cause, isBlocked: true }
  } catch (cause) {
    return { kind: 'ended', cause }
  }
}
