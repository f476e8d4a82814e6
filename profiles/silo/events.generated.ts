// The data of the events of silo, as it is told.
// Made by `tidings types --profile silo`. Do not edit it: change the schemas, and make it again.

/** A bill of materials was merged. */
export interface BomMerged {
  diff?: {
    added?: number
    quantity_changed?: number
    removed?: number
    unchanged_count?: number
  } | null
  part_number?: string
  resolve_url?: string | null
  summary?: string | null
  user?: string | null
}

/** Somebody began to edit a part, or left off. */
export interface EditSessionAcquired {
  item?: string | null
  user?: string | null
}

/** Somebody began to edit a part, or left off. */
export interface EditSessionReleased {
  item?: string | null
  user?: string | null
}

/** A part was made, by hand or by an import. */
export interface ItemCreated {
  /** `A01-0002` */
  part_number: string
  description?: string | null
  /** `assembly` */
  item_type?: string | null
}

/** A part is gone. */
export interface ItemDeleted {
  /** `A01-0002` */
  part_number: string
}

/** A part changed. */
export interface ItemUpdated {
  /** `A01-0002` */
  part_number: string
  /** The newest revision: 3, or C where the app counts in letters. */
  revision?: number | string | null
}

/** A part has a new revision. */
export interface RevisionCreated {
  /** `A01-0002` */
  part_number: string
  revision_number: number | string | null
  comment?: string | null
}

/** What the server can do now: in `read-only` it takes no changes, in `degraded` something it needs is not there. */
export interface ServerState {
  mode: 'normal' | 'read-only' | 'degraded'
}

/** The data of each event, by its name. */
export interface Events {
  'bom.merged': BomMerged
  'edit.session_acquired': EditSessionAcquired
  'edit.session_released': EditSessionReleased
  'item.created': ItemCreated
  'item.deleted': ItemDeleted
  'item.updated': ItemUpdated
  'revision.created': RevisionCreated
  'server.state': ServerState
}

/** Any of the events, told apart by `name`. */
export type LiveEvent = {
  [Name in keyof Events]: { readonly name: Name; readonly data: Events[Name] }
}[keyof Events]
