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

/** Takes the events of a client as changes. */
export function attachTo<Events extends object, Kinds>(
  client: Client<Events>,
  map: AttachMap<Events, Kinds>,
  add: <Kind extends keyof Kinds & string>(kind: Kind, changes: readonly Kinds[Kind][]) => void,
): Attached<Events, Kinds> {
  const subscription = client.subscribe(wanted(map, add))
  return {
    replace: other => subscription.replace(wanted(other, add)),
    detach: () => subscription.unsubscribe(),
  }
}

type EventName<Events> = keyof Events & string

function wanted<Events extends object, Kinds>(
  map: AttachMap<Events, Kinds>,
  add: <Kind extends keyof Kinds & string>(kind: Kind, changes: readonly Kinds[Kind][]) => void,
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
