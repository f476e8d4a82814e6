/** The bridge to TanStack Query: events change what is cached, or have it fetched anew. */

export { type Bridge, type BridgeOptions, bridge } from './query/bridge.js'
export type { Id, IdOf, Position } from './query/list.js'
export {
  invalidate,
  type ListOptions,
  type LiveMap,
  patch,
  type RemoveOptions,
  type Rule,
  type RuleOptions,
  remove,
  type UpsertOptions,
  upsert,
} from './query/rule.js'
export { type LiveQueries, type LiveQueriesOptions, useLiveQueries } from './query/use-live-queries.js'
