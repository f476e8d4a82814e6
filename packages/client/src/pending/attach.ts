import type { Client, LiveEvent, SubscriptionOptions } from '../types.js'

/**
 * Which events are changes of which kind. Without `changes` the event's data is the change; with it, an event may be several, or none.
 */
export type AttachMap<Events, Kinds> = {
  readonly [Name in keyof Events & string]?:
    | KindsOf<Kinds, Events[Name]>
    | {
        readonly [Kind in keyof Kinds & string]: {
          readonly kind: Kind
          readonly changes: (event: LiveEvent<Name, Events[Name]>) => readonly Kinds[Kind][]
        }
      }[keyof Kinds & string]
}

/** The kinds whose changes data of this type can be. Untyped events fit each. */
type KindsOf<Kinds, Data> = {
  [Kind in keyof Kinds & string]: unknown extends Data ? Kind : Data extends Kinds[Kind] ? Kind : never
}[keyof Kinds & string]

/** Events that become changes. */
export interface Attached<Events, Kinds> {
  /** Takes other events from now on. None that both maps name is missed or taken twice. */
  replace(map: AttachMap<Events, Kinds>): void
  detach(): void
}

/** Where changes go. */
interface Changes<Kinds> {
  add<Kind extends keyof Kinds & string>(kind: Kind, changes: readonly Kinds[Kind][]): void
  /** Forgets them: they were of somebody who is not here any more. */
  clear(): void
}

/** Takes the events of a client as changes, until it is logged out. */
export function attachTo<Events extends object, Kinds>(
  client: Client<Events>,
  map: AttachMap<Events, Kinds>,
  { add, clear }: Changes<Kinds>,
): Attached<Events, Kinds> {
  const own: typeof add = (kind, changes) => {
    // Whoever logs out while events are told has the rest of them told to those after him.
    if (!client.connection.loggedOut) add(kind, changes)
  }
  const subscription = client.subscribe(wanted(map, own))
  const unwatch = client.onConnection(({ loggedOut }) => {
    if (loggedOut) clear()
  })
  return {
    replace: other => subscription.replace(wanted(other, own)),
    detach: () => {
      unwatch()
      subscription.unsubscribe()
    },
  }
}

type EventName<Events> = keyof Events & string

function wanted<Events extends object, Kinds>(
  map: AttachMap<Events, Kinds>,
  add: Changes<Kinds>['add'],
): SubscriptionOptions<Events, EventName<Events>> {
  // The map's type has checked what each kind takes; from here on it is not known any more.
  const entries = new Map(Object.entries(map)) as ReadonlyMap<string, Entry>
  const take = add as (kind: string, changes: readonly unknown[]) => void
  return {
    names: [...entries.keys()] as EventName<Events>[],
    onEvent: event => {
      const entry = entries.get(event.name)
      if (typeof entry === 'string') take(entry, [event.data])
      else if (entry) take(entry.kind, entry.changes(event))
    },
  }
}

type Entry = string | { readonly kind: string; readonly changes: (event: LiveEvent) => readonly unknown[] }
