import { type ErrorCode, TidingsError } from './errors.js'
import { reasonOf } from './failure.js'
import type { Ending } from './source.js'
import type { CloseReason } from './types.js'

/**
 * What follows from the end of a connection: `wait` and come back on the same transport, `least` ms from now at the earliest; `fall` to
 * the next transport, if there is one; `widen` what is asked for, so that less has to be named; `refresh` the credential, then come back;
 * `close` for good.
 */
export type Verdict =
  | { readonly next: 'wait'; readonly error: TidingsError; readonly least: number }
  | {
      readonly next: 'fall' | 'widen' | 'refresh' | 'close'
      readonly error: TidingsError
      readonly least?: number
    }

/** Judges the end of a connection that was there, or was never reached; `undefined` for an answer, of which `ending.ts` knows more. */
export function judgeLoss(ending: Ending, close: CloseReason | undefined): Verdict | undefined {
  if (close) return ofReason(close)
  if (ending.kind === 'silence') return verdict('wait', 'silence', 'a hub is not silent for so long')
  if (ending.kind !== 'ended') return undefined
  const { cause } = ending
  // It was not even asked: a header that can't be sent is none the next time either.
  if (cause instanceof TidingsError && cause.code === 'refused') return { next: 'close', error: cause }
  return verdict('wait', 'network', `not connected: ${cause ? reasonOf(cause) : 'cut off'}`, { cause })
}

/** Protocol §5. */
function ofReason({ code, reason, message, reconnect }: CloseReason): Verdict {
  const text = `the hub ended the connection: ${message || reason}`
  const details = { status: code }
  if (code === 4001 || code === 3002) return verdict('refresh', 'unauthorized', text, details)
  if (reconnect) return verdict('wait', 'unavailable', text, details)
  return verdict('close', code === 4002 ? 'forbidden' : 'refused', text, details)
}

/** A verdict, and the error that is told with it. */
export function verdict(
  next: Verdict['next'],
  code: ErrorCode,
  message: string,
  details?: ConstructorParameters<typeof TidingsError>[2],
  least = 0,
): Verdict {
  return { next, error: new TidingsError(code, message, { ...details, retrying: next !== 'close' }), least }
}
