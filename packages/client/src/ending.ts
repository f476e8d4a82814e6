import { type ErrorCode, TidingsError } from './errors.js'
import { reasonOf } from './failure.js'
import type { Ending } from './source.js'
import type { CloseReason } from './types.js'

/**
 * What follows from the end of a connection: `wait` and come back on the same transport, `least` ms from now at the earliest; `fall` to
 * the next transport, if there is one; `refresh` the credential, then come back; `close` for good.
 */
export type Verdict =
  | { readonly next: 'wait'; readonly error: TidingsError; readonly least: number }
  | { readonly next: 'fall' | 'refresh' | 'close'; readonly error: TidingsError; readonly least?: number }

/** Judges an end. `renewed`: the credential is a new one already, so that another would not help either. */
export function judge(ending: Ending, close: CloseReason | undefined, renewed: boolean): Verdict {
  if (close) return ofReason(close)
  switch (ending.kind) {
    case 'refused':
      return ofStatus(ending, renewed)
    case 'content-type':
      return verdict(
        'fall',
        'content-type',
        `the answer is no stream of a hub but ${ending.contentType || 'untyped'}: a proxy, a login form?`,
      )
    case 'protocol':
      return verdict('fall', 'protocol', `the stream breaks the protocol: ${ending.message}`)
    case 'silence':
      return verdict('wait', 'silence', 'a hub is not silent for so long')
    case 'ended': {
      const { cause } = ending
      return verdict('wait', 'network', `not connected: ${cause ? reasonOf(cause) : 'cut off'}`, { cause })
    }
  }
}

/** Protocol §5. */
function ofReason({ code, reason, message, reconnect }: CloseReason): Verdict {
  const text = `the hub ended the connection: ${message || reason}`
  const details = { status: code }
  if (code === 4001 || code === 3002) return verdict('refresh', 'unauthorized', text, details)
  if (reconnect) return verdict('wait', 'unavailable', text, details)
  return verdict('close', code === 4002 ? 'forbidden' : 'refused', text, details)
}

function ofStatus({ status, problem, retryAfter }: Extract<Ending, { kind: 'refused' }>, renewed: boolean): Verdict {
  const details = { status, ...(problem && { problem }) }
  const text = `the hub refused: ${status} ${problem?.detail ?? problem?.title ?? ''}`.trim()
  if (status === 401) return verdict(renewed ? 'close' : 'refresh', 'unauthorized', text, details)
  if ([408, 425, 429].includes(status) || status >= 500)
    return verdict('wait', 'unavailable', text, details, retryAfter)
  // 204 is among them: there is nothing more to come.
  return verdict('close', status === 403 ? 'forbidden' : 'refused', text, details)
}

function verdict(
  next: Verdict['next'],
  code: ErrorCode,
  message: string,
  details?: ConstructorParameters<typeof TidingsError>[2],
  least = 0,
): Verdict {
  return { next, error: new TidingsError(code, message, { ...details, retrying: next !== 'close' }), least }
}
