/** What the hub answers to an operator (protocol §11), and jobs (§10.1). */

export interface Whoami {
  readonly principal: string
  readonly source: string
  readonly operator: boolean
  readonly publishes: boolean
  readonly grants: readonly string[]
  readonly profiles: readonly string[]
  readonly dev: boolean
  readonly version: string
}

export interface Stats {
  /** ms since 1970, as `started`. */
  readonly time: number
  readonly started: number
  readonly version: string
  /** Open streams by transport. */
  readonly streams: Readonly<Record<string, number>>
  readonly delivered: number
  readonly delivered_bytes: number
  readonly events: number
  readonly signals: number
  readonly publish_errors: number
  readonly gaps: number
  readonly behind: number
  readonly opened: number
  readonly closed: number
  /** ms over the last minute; `null` where nothing was delivered. */
  readonly latency: { readonly p50: number | null; readonly p99: number | null; readonly max: number | null } | null
  readonly rss: number
  readonly cpu_seconds: number
  readonly descriptors: number
}

export interface OpenStream {
  readonly id: string
  readonly principal: string
  readonly source: string
  readonly profile: string
  readonly transport: string
  readonly topics: readonly string[] | null
  readonly names: readonly string[] | null
  /** Events of the log that it has yet to be told; `null` where a request waits and no place is kept. */
  readonly lag: number | null
  readonly opened: number
}

export interface TopicRate {
  readonly topic: string
  readonly profile: string
  readonly events: number
  readonly rate: number
  readonly last: number
}

export interface TopicsAnswer {
  readonly topics: readonly TopicRate[]
  readonly known: number
  readonly forgotten: number
  /** Events that came too fast to be counted. */
  readonly uncounted: number
  readonly since: number
}

export interface ProfileEvent {
  readonly name: string
  readonly topic: string | null
  readonly kept: boolean
  readonly retained: boolean
  /** The rules in their order, each the grants any one of which lets somebody see it. */
  readonly audience: readonly (readonly string[])[]
  readonly schema: unknown
}

export interface ProfileInfo {
  readonly name: string
  readonly namespace: string | null
  readonly description: string | null
  readonly mounts: readonly { readonly path: string; readonly transport: string }[]
  readonly events: readonly ProfileEvent[]
}

export interface LogInfo {
  readonly epoch: string
  /** Cursors. */
  readonly first: string | null
  readonly last: string | null
  readonly events: number
  readonly bytes: number
  readonly segments: number | null
  /** `age` in ms; `null` is no bound. */
  readonly retention: {
    readonly age: number | null
    readonly events: number | null
    readonly bytes: number | null
  }
  readonly broker: string
  readonly oldest: number | null
}

export interface LoggedEvent {
  readonly name: string
  readonly topic: string
  readonly profile: string
  readonly data: unknown
  readonly time: number
  readonly cursor: string
  readonly audience: readonly string[]
  readonly key?: string | undefined
  readonly scope?: unknown
}

/** An event as the lists show it. */
export interface SeenEvent {
  /** Grows by one with each that came; tells rows apart. */
  readonly number: number
  readonly name: string
  readonly topic: string
  readonly profile?: string | undefined
  readonly data: unknown
  /** The data as JSON in one line, made when first asked for. */
  readonly text: string
  readonly time: number | undefined
  readonly cursor: string | undefined
  readonly audience?: readonly string[] | undefined
  readonly key?: string | undefined
  readonly scope?: unknown
  /** Whether a number in the data is not as it was published: the page can't hold it. */
  readonly rounded: boolean
  /** No event, but a place in the list where some are missing: why, in a sentence. */
  readonly gap?: string | undefined
}

export type JobState = 'queued' | 'running' | 'completed' | 'failed' | 'canceled' | 'lost'

export interface Job {
  readonly id: string
  readonly kind: string
  readonly state: JobState
  readonly attempt: number
  readonly attempts: number
  readonly canceling?: boolean
  readonly progress?: {
    readonly done: number
    readonly total?: number
    readonly fraction?: number
    readonly message?: string
    readonly item?: unknown
  }
  readonly result?: unknown
  readonly items?: number
  readonly error?: { readonly code: string; readonly message: string; readonly retryable?: boolean }
  readonly owner?: string
  readonly created: number
  readonly started?: number
  readonly updated: number
  readonly ended?: number
  readonly revision: number
}

export interface Explanation {
  readonly cursor: string
  readonly name: string
  readonly topic: string
  readonly profile: string
  readonly audience: readonly string[]
  readonly readers: readonly {
    readonly principal: string
    readonly profile: string | null
    readonly given: boolean
    readonly steps: readonly { readonly question: string; readonly passed: boolean; readonly answer: string }[]
  }[]
  readonly note: string | null
}
