/**
 * Live updates from a Tidings hub: one connection, resumed without loss, typed.
 *
 * `createClient` is where to begin; README.md has the options, the states and the errors. What is beside the stream has entries of its
 * own: `@tidings/client/jobs`, `/pending`, `/event-source`, `/worker`.
 */

export { reconnectDelay } from './backoff.js'
export { createClient } from './client.js'
export { type ErrorCode, type Problem, TidingsError } from './errors.js'
export type {
  AnyEvent,
  Backoff,
  Client,
  ClientOptions,
  CloseReason,
  Connection,
  Environment,
  Gap,
  LiveEvent,
  Paths,
  Sharing,
  Subscription,
  SubscriptionOptions,
  Token,
  TokenProvider,
  TransportName,
} from './types.js'
