/** Why an answer was none of a hub's streams. Few pages ever hear that, so a connection loads this when it does. */

import { proxyError } from './choose.js'
import { judgeLoss, type Verdict, verdict } from './lost.js'
import type { Ending, TransportRequest } from './source.js'
import type { CloseReason, Environment, TransportName } from './types.js'

export type { Verdict } from './lost.js'
export { widen } from './widen.js'

/** An attempt to be connected. */
export interface Attempt {
  readonly transport: TransportName
  readonly request?: TransportRequest
  readonly stop: AbortController
}

/**
 * Judges an attempt that was answered with something else; or, as an end that is none yet, one that was not answered at all: where a
 * short poll is, a proxy swallows it, else nobody is there, or there is no network.
 */
export async function explain(
  ending: Ending,
  { transport, request, stop }: Attempt,
  renewed: boolean,
  wasOpen: boolean,
  environment: Environment,
): Promise<Verdict> {
  if (ending.kind === 'ended' && request) {
    const found = await import('./transports/probe.js')
      .then(({ probe }) => probe(request, environment, stop.signal))
      .catch(() => ending)
    if (found.kind === 'ended' && found.isBlocked)
      return { next: 'fall', error: proxyError(transport === 'sse' ? 'holds streams back' : 'passes no WebSocket on') }
    ending = found
  }
  return judge(ending, undefined, renewed, { wasOpen, canWiden: true })
}

/**
 * Judges an end. `renewed`: the credential is a new one already, so that another would not help either. `wasOpen`: the hub has been there
 * before, so that it is somebody else who does not know it. `canWiden`: less can be named.
 */
export function judge(
  ending: Ending,
  close: CloseReason | undefined,
  renewed: boolean,
  { wasOpen = false, canWiden = false }: { wasOpen?: boolean; canWiden?: boolean } = {},
): Verdict {
  return judgeLoss(ending, close) ?? judgeAnswer(ending as Answered, renewed, wasOpen, canWiden)
}

/** It was answered, with something else than a stream. */
type Answered = Exclude<Ending, { kind: 'ended' | 'silence' }>

function judgeAnswer(ending: Answered, renewed: boolean, wasOpen: boolean, canWiden: boolean): Verdict {
  switch (ending.kind) {
    case 'refused':
      return ofStatus(ending, renewed, wasOpen, canWiden)
    case 'content-type':
      return verdict(
        'fall',
        'content-type',
        `the answer is no stream of a hub but ${ending.contentType || 'untyped'}: a proxy, a login form?`,
      )
    case 'protocol':
      return verdict('fall', 'protocol', `the stream breaks the protocol: ${ending.message}`)
  }
}

function ofStatus(
  { status, problem, retryAfter }: Extract<Ending, { kind: 'refused' }>,
  renewed: boolean,
  wasOpen: boolean,
  canWiden: boolean,
): Verdict {
  const details = { status, ...(problem && { problem }) }
  const text = `the hub refused: ${status} ${problem?.detail ?? problem?.title ?? ''}`.trim()
  if (status === 401) return verdict(renewed ? 'close' : 'refresh', 'unauthorized', text, details)
  // A proxy while the hub is exchanged for a newer one: the hub itself would say more.
  const isAway = wasOpen && !problem && [404, 410].includes(status)
  if (isAway || [408, 425, 429].includes(status) || status >= 500)
    return verdict('wait', 'unavailable', text, details, retryAfter)
  // Named as in protocol §6, or as in §8.
  const isMuch = [413, 414, 431].includes(status) || `${problem?.type} ${problem?.code}`.includes('too-many-topics')
  if (canWiden && isMuch) return verdict('widen', 'refused', text, details)
  // 204 is among them: there is nothing more to come.
  return verdict('close', status === 403 ? 'forbidden' : 'refused', text, details)
}
