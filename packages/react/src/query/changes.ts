import { hashKey, notifyManager, type Query, type QueryClient, type QueryKey } from '@tanstack/react-query'
import type { LiveEvent } from '@tidings/client'
import { Draft } from './draft.js'
import { arePages, type Unloaded } from './list.js'
import type { Refetches } from './refetches.js'
import type { Rule } from './rule.js'

/** A rule, whatever its event. The bridge gives each rule the events of the name that it stands under. */
export type AnyRule = Rule<LiveEvent>

/** What the events of one batch do, gathered so that each query is changed, told and fetched once. */
class Changes {
  readonly #queryClient: QueryClient
  readonly #drafts = new Map<Query, Draft>()
  readonly #stale = new Set<Query>()
  readonly #overtaken = new Set<Query>()
  /** For each rule that fetches anew: the hashes of the keys, by their lengths. */
  readonly #keys = new Map<AnyRule, Map<number, Set<string>>>()
  /** The queries of rules that are always about the same key. */
  readonly #found = new Map<AnyRule, readonly Query[]>()
  /** What was thrown, by the rule or the query. */
  readonly #broken = new Map<AnyRule | Query, unknown>()

  constructor(queryClient: QueryClient) {
    this.#queryClient = queryClient
  }

  /** What was thrown, once for each rule. */
  get errors(): Iterable<unknown> {
    return this.#broken.values()
  }

  add(rule: AnyRule, event: LiveEvent): void {
    try {
      const rest = rule.options.rest?.(event)
      if (rest === undefined && rule.options.rest !== undefined) return
      const key = rest === undefined ? rule.scope : [...rule.scope, ...rest]
      if (rule.change === undefined && !rule.exact && rule.options.where === undefined && rest !== undefined) {
        this.#addKey(rule, key)
        return
      }
      for (const query of rest === undefined ? this.#fixed(rule) : this.#queries(key, rule.exact)) {
        if (rule.options.where?.(event, query.queryKey) === false) continue
        if (rule.change === undefined) this.#stale.add(query)
        else this.#change(query, rule, event)
      }
    } catch (error) {
      this.#fail(rule, error)
    }
  }

  /** Puts it all into the cache. Each observer is told once. */
  apply(refetches: Refetches): void {
    notifyManager.batch(() => {
      for (const query of this.#overtaken) refetches.overtake(query)
      for (const [query, draft] of this.#drafts) this.#put(query, draft, refetches)
      for (const [rule, keys] of this.#keys) this.#addQueries(rule, keys)
      for (const query of this.#stale) refetches.invalidate(query)
    })
  }

  #put(query: Query, draft: Draft, refetches: Refetches) {
    try {
      refetches.put(query, draft.result())
      if (draft.isDoubtful) this.#stale.add(query)
    } catch (error) {
      // The order of a list, or the app's structural sharing.
      this.#broken.set(query, error)
      this.#stale.add(query)
    }
  }

  #fixed(rule: AnyRule): readonly Query[] {
    let found = this.#found.get(rule)
    if (found === undefined) {
      found = this.#queries(rule.scope, rule.exact)
      this.#found.set(rule, found)
    }
    return found
  }

  #queries(key: QueryKey, exact: boolean): readonly Query[] {
    const cache = this.#queryClient.getQueryCache()
    if (!exact) return cache.findAll({ queryKey: key })
    const query = cache.get(this.#queryClient.defaultQueryOptions({ queryKey: key }).queryHash)
    return query === undefined ? [] : [query as Query]
  }

  #change(query: Query, rule: AnyRule, event: LiveEvent) {
    if (query.state.data === undefined) {
      this.#overtaken.add(query)
      return
    }
    let draft = this.#drafts.get(query)
    if (draft === undefined) {
      draft = new Draft(query.state.data, data => unloaded(query, data))
      this.#drafts.set(query, draft)
    }
    try {
      rule.change?.(draft, event)
    } catch (error) {
      this.#broken.set(rule, error)
      this.#stale.add(query)
    }
  }

  /** A rule that can't say what it is about may be about all of its scope. */
  #fail(rule: AnyRule, error: unknown) {
    this.#broken.set(rule, error)
    for (const query of this.#queries(rule.scope, false)) this.#stale.add(query)
  }

  #addKey(rule: AnyRule, key: QueryKey) {
    let lengths = this.#keys.get(rule)
    if (lengths === undefined) {
      lengths = new Map()
      this.#keys.set(rule, lengths)
    }
    let hashes = lengths.get(key.length)
    if (hashes === undefined) {
      hashes = new Set()
      lengths.set(key.length, hashes)
    }
    hashes.add(hashKey(key))
  }

  #addQueries(rule: AnyRule, lengths: Map<number, Set<string>>) {
    for (const query of this.#queries(rule.scope, false)) {
      for (const [length, hashes] of lengths) {
        if (query.queryKey.length >= length && hashes.has(hashKey(query.queryKey.slice(0, length))))
          this.#stale.add(query)
      }
    }
  }
}

/** Applies the events in order, and returns what the rules threw. */
export function applyEvents(
  queryClient: QueryClient,
  refetches: Refetches,
  events: readonly LiveEvent[],
  rulesOf: (name: string) => readonly AnyRule[],
): unknown[] {
  const changes = new Changes(queryClient)
  for (const event of events) for (const rule of rulesOf(event.name)) changes.add(rule, event)
  changes.apply(refetches)
  return [...changes.errors]
}

/** All queries that any of these rules may be about. */
export function queriesOf(queryClient: QueryClient, rules: readonly AnyRule[]): Set<Query> {
  const cache = queryClient.getQueryCache()
  return new Set(rules.flatMap(rule => cache.findAll({ queryKey: rule.scope })))
}

function unloaded(query: Query, data: unknown): Unloaded {
  if (!arePages(data)) return { before: false, after: false }
  const { pages, pageParams } = data
  const ask = (which: string, page: unknown, param: unknown) => {
    const next = (query.options as { readonly [option: string]: unknown })[which]
    return typeof next === 'function' && (next(page, pages, param, pageParams) ?? undefined) !== undefined
  }
  return {
    before: ask('getPreviousPageParam', pages[0], pageParams[0]),
    after: ask('getNextPageParam', pages.at(-1), pageParams.at(-1)),
  }
}
