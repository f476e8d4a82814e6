import { type ErrorCode, type Problem, TidingsError } from './errors.js'
import { failure, reasonOf } from './failure.js'
import type { Ending } from './source.js'
import type { CloseReason } from './types.js'

/** What follows from the end of a connection. */
export type Verdict =
  /** Come back on the same transport, `least` ms from now at the earliest. */
  | { readonly next: 'wait'; readonly error: TidingsError; readonly least: number }
  /** The next transport, if there is one. */
  | { readonly next: 'fall'; readonly error: TidingsError }
  /** A new credential, then come back. */
  | { readonly next: 'refresh'; readonly error: TidingsError }
  /** For good. */
  | { readonly next: 'close'; readonly error: TidingsError }

/** Judges an end. `renewed`: the credential is a new one already, so that another would not help either. */
export function judge(ending: Ending, close: CloseReason | undefined, renewed: boolean): Verdict {
  if (close) return ofReason(close)
  switch (ending.kind) {
    case 'refused':
      return ofStatus(ending, renewed)
    case 'content-type':
      return {
        next: 'fall',
        error: failure(
          'content-type',
          `the answer is ${ending.contentType || 'without a content type'}, so it comes from a proxy or a login form and not from a hub`,
        ),
      }
    case 'protocol':
      return { next: 'fall', error: failure('protocol', `the stream breaks the protocol: ${ending.message}`) }
    case 'silence':
      return wait(failure('silence', 'nothing came for longer than a hub is silent'))
    case 'ended': {
      const { cause } = ending
      return wait(failure('network', `not connected: ${cause ? reasonOf(cause) : 'the stream was cut'}`, { cause }))
    }
  }
}

/** Protocol §5. */
function ofReason({ code, reason, message, reconnect }: CloseReason): Verdict {
  const text = `the hub ended the connection: ${message || reason}`
  if (code === 4001 || code === 3002) {
    return { next: 'refresh', error: failure('unauthorized', text, { status: code }) }
  }
  if (reconnect) return wait(failure('unavailable', text, { status: code }))
  return final(code === 4002 ? 'forbidden' : 'refused', text, { status: code })
}

function ofStatus(ending: Extract<Ending, { kind: 'refused' }>, renewed: boolean): Verdict {
  const { status, problem, retryAfter } = ending
  const details = { status, ...(problem && { problem }) }
  const text = `the hub refused: ${status}${(problem?.detail ?? problem?.title) ? `, ${problem?.detail ?? problem?.title}` : ''}`
  if (status === 204) return final('refused', 'there is nothing more to come', details)
  if (status === 401) {
    if (renewed) return final('unauthorized', text, details)
    return { next: 'refresh', error: failure('unauthorized', text, details) }
  }
  if (status === 403) return final('forbidden', text, details)
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    return wait(failure('unavailable', text, details), retryAfter)
  }
  return final('refused', text, details)
}

function wait(error: TidingsError, least = 0): Verdict {
  return { next: 'wait', error, least }
}

function final(code: ErrorCode, message: string, details: { status: number; problem?: Problem }): Verdict {
  return { next: 'close', error: new TidingsError(code, message, details) }
}
