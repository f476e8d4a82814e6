import type { Transport } from './source.js'
import { sse } from './transports/sse.js'
import type { TransportName } from './types.js'

/** Gives the code of a transport. */
export type LoadTransport = (name: TransportName) => Transport | Promise<Transport>

/** The ones that are seldom needed come when they are. */
export const loadTransport: LoadTransport = name => {
  switch (name) {
    case 'sse':
      return sse
    case 'websocket':
      return import('./transports/websocket.js').then(module => module.websocket)
    case 'poll':
      return import('./transports/poll.js').then(module => module.poll)
  }
}
