import type { QueryKey } from '@tanstack/react-query'
import type { LiveEvent } from '@tidings/client'
import type { RegisteredEvents } from '../register.js'
import type { Draft } from './draft.js'
import { type Id, type IdOf, identify, type Position } from './list.js'

/** Which queries a rule is about. */
export interface RuleOptions<Event> {
  /**
   * What follows the scope in the key, told by the event: `patch(['book'], …, { rest: e => [e.data.id] })` is about
   * `['book', 7]`. `undefined`: the event is about none. Left out, the key is the scope itself.
   */
  readonly rest?: ((event: Event) => QueryKey | undefined) | undefined
  /** Whether only the very key is meant, or all that begin with it. `invalidate`: `false` if left out; the others: `true`. */
  readonly exact?: boolean | undefined
  /** Passes queries over: a list whose filter the event does not fit. */
  readonly where?: ((event: Event, queryKey: QueryKey) => boolean) | undefined
}

/**
 * What an event does to cached queries.
 *
 * All keys of a rule begin with its `scope`. That is how a gap, which tells no events, knows what to fetch anew.
 */
export interface Rule<Event = never> {
  readonly scope: QueryKey
  readonly options: RuleOptions<Event>
  readonly exact: boolean
  /** Changes what is cached. Left out, it is fetched anew. */
  readonly change?: ((draft: Draft, event: Event) => void) | undefined
}

/** What each event does: one rule, or several that are applied in order. */
export type LiveMap<Events extends object = RegisteredEvents> = {
  readonly [Name in keyof Events & string]?:
    | Rule<LiveEvent<Name, Events[Name]>>
    | readonly Rule<LiveEvent<Name, Events[Name]>>[]
}

/** Fetches anew what begins with the key: at once if it is on the page, else when it is next. */
export function invalidate<Event>(scope: QueryKey, options: RuleOptions<Event> = {}): Rule<Event> {
  return { scope, options, exact: options.exact ?? false }
}

/**
 * Puts `update(old, event)` in the place of what is cached. Nothing is made where nothing is cached.
 *
 * `update` makes a new value and leaves the old one as it is; it returns `undefined` to change nothing. It may be called
 * for an event that the data has already, so it sets and does not add. If it throws, the query is fetched anew.
 */
export function patch<Event, Data = unknown>(
  scope: QueryKey,
  update: (old: Data, event: Event) => Data | undefined,
  options: RuleOptions<Event> = {},
): Rule<Event> {
  const change = (draft: Draft, event: Event) => draft.update(old => update(old as Data, event))
  return { scope, options, exact: options.exact ?? true, change }
}

/** Where the list is, and how its items are told apart. */
export interface ListOptions<Event, Item> extends RuleOptions<Event> {
  /** The member of an item, or the function, that tells it from the others. `id` if left out. */
  readonly id?: IdOf<Item> | undefined
  /** The member of the data (of each page, in an infinite query) that holds the array. Left out, it is the array. */
  readonly list?: string | undefined
}

export interface UpsertOptions<Event, Item> extends ListOptions<Event, Item> {
  /** The item, or the items, that the event tells of; its data if left out. `undefined`: none. */
  readonly item?: ((event: Event) => Item | readonly Item[] | undefined) | undefined
  /** Where an item goes that is not there yet: `end` if left out. An order keeps all items in it. */
  readonly position?: Position<Item> | undefined
}

/**
 * Puts an item into a cached list: in the place of the one with its id, else at `position`.
 *
 * In an infinite query a new item is left out if its place is on a page that is not loaded yet.
 */
export function upsert<Event extends LiveEvent, Item = Event['data']>(
  scope: QueryKey,
  options: UpsertOptions<Event, Item> = {},
): Rule<Event> {
  const item = options.item ?? ((event: Event) => event.data as Item)
  const shape = { id: identify(options.id), member: options.list }
  const change = (draft: Draft, event: Event) => {
    for (const one of several(item(event))) draft.list<Item>(shape).upsert(one, options.position ?? 'end')
  }
  return { scope, options, exact: options.exact ?? true, change }
}

export interface RemoveOptions<Event, Item> extends ListOptions<Event, Item> {
  /** The ids that the event says are gone; the id of its data, as if it were an item, if left out. */
  readonly gone?: ((event: Event) => Id | readonly Id[] | undefined) | undefined
}

/** Takes items out of a cached list. */
export function remove<Event extends LiveEvent, Item = Event['data']>(
  scope: QueryKey,
  options: RemoveOptions<Event, Item> = {},
): Rule<Event> {
  const id = identify(options.id)
  const gone = options.gone ?? ((event: Event) => id.of(event.data))
  const change = (draft: Draft, event: Event) => {
    for (const one of several(gone(event))) draft.list<Item>({ id, member: options.list }).remove(one)
  }
  return { scope, options, exact: options.exact ?? true, change }
}

function several<T>(value: T | readonly T[] | undefined): readonly T[] {
  if (value === undefined) return []
  return Array.isArray(value) ? value : [value as T]
}
