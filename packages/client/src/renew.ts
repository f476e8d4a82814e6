/** How the credential of a connection is exchanged before it is over. Only one whose end is known is, so a connection loads this then. */

import { reconnectDelay } from './backoff.js'
import type { TidingsError } from './errors.js'
import type { Settings, SourceSink } from './source.js'
import { tokenFailed } from './token.js'
import { pause } from './transports/pause.js'
import type { Environment } from './types.js'

/** Asks for the next credential until it is there, or until `signal` is aborted. */
export async function renew(
  sink: SourceSink,
  { backoff }: Settings,
  environment: Environment,
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      await sink.token(true, signal).catch(tokenFailed)
      return
    } catch (error) {
      if (signal.aborted) return
      sink.error(error as TidingsError)
      await pause(reconnectDelay(attempt, backoff, environment.random), environment, signal)
    }
  }
}
