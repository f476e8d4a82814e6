import type { TidingsError } from '../errors.js'
import type { OpenSource, Settings, SourceSink } from '../source.js'
import type { ClientOptions, Environment, Sharing } from '../types.js'
import type { Member } from './member.js'

/** One way to be connected: by a worker, by a leader among the pages, or by oneself. */
export interface Way {
  readonly sharing: Sharing
  /** Whether this page is seen. */
  visible(visible: boolean): void
  /** Tells all pages, where a channel of them is not to be had. */
  logout?(): void
  /** Gives everything back: locks, channels, the connection if this page holds it. */
  leave(): void
}

export interface WayOptions {
  readonly member: Member
  /** As pages find each other by. */
  readonly name: string
  readonly settings: Settings
  readonly environment: Environment
  readonly open: OpenSource
  readonly options: ClientOptions
  readonly token: SourceSink['token']
  /** This way is closed; another has to be taken. Called once, and `leave` after it. */
  readonly failed: (error: TidingsError) => void
}

/** Opens a way. What goes wrong at once is thrown. */
export type OpenWay = (options: WayOptions) => Way

/** A name for a page or a holder, that no other has. */
export function newName({ random, now }: Environment): string {
  const part = () => Math.floor(random() * 2 ** 32).toString(36)
  return `${now().toString(36)}-${part()}${part()}`
}
