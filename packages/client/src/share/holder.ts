import { TidingsError } from '../errors.js'
import { coversAll, union, wants } from '../filter.js'
import type { Batch, OpenSource, Settings, Source, SourceSink } from '../source.js'
import { pause } from '../transports/pause.js'
import type { ClientOptions, Connection, Environment, LiveEvent, Token } from '../types.js'
import { BEHIND, statesOf } from './detour.js'
import { whenReleased } from './locks.js'
import {
  type FromHolder,
  type FromPage,
  isSameConnection,
  type PlainConnection,
  plainConnection,
  plainError,
  type Topics,
} from './messages.js'
import { Newest } from './newest.js'
import { lowest, order } from './order.js'
import { partsOf } from './parts.js'
import { TokenRound } from './token-round.js'

/** Batches that a page may be behind before it is sent no more; it reads what it missed by itself when it is back. */
const MOST_UNHEARD = 256

/** After how many ms of silence a page without a lock counts as gone. Hidden pages have one timer a minute. */
const GONE_AFTER = 180_000

export interface HolderOptions {
  /** A new one for each holder. */
  readonly id: string
  readonly settings: Settings
  readonly environment: Environment
  readonly open: OpenSource
  readonly options: ClientOptions
  /** To one page. */
  readonly tell: (page: string, message: FromHolder) => void
  /** To all pages at once; left out where each has a way of its own and is told only what it wants. */
  readonly broadcast?: ((message: FromHolder) => void) | undefined
  /** The holder's own provider; left out, pages are asked. */
  readonly token?: SourceSink['token'] | undefined
  /** Held for as long as the holder lives. */
  readonly lock?: string | undefined
  /** A page has gone, or was told for the last time. */
  readonly forgotten?: ((page: string) => void) | undefined
  /** The last page has gone, or one has logged out: it holds nothing any more. */
  readonly ended: () => void
}

interface Member {
  topics: Topics
  ask: number
  cursor: string | undefined
  visible: boolean
  lock: string | undefined
  /** Up to where it was told. */
  told: string | undefined
  /** Batches since it was last heard. */
  unheard: number
  heard: number
  /** Its topics are not covered yet, so that it waits for `joined`. */
  waiting: boolean
  /** It wants topics of which it was told no states yet. */
  wantsStates: boolean
  readonly gone: AbortController
}

/** Keeps one connection for many pages. */
export class Holder {
  readonly #options: HolderOptions
  readonly #members = new Map<string, Member>()
  readonly #newest = new Newest()
  readonly #round: TokenRound
  /** Pages that have joined and may lack states, for which the hub is asked. */
  readonly #unsure = new Set<string>()
  readonly #ending = new AbortController()
  #isAsking = false
  #link: Source | undefined
  /** What the link was last asked for. */
  #asked: Topics
  /** What comes over the connection that the link has now. */
  #covered: Topics = []
  #at: string | undefined
  #connection: PlainConnection = CONNECTING
  #sweep: unknown
  #ended = false

  constructor(options: HolderOptions) {
    this.#options = options
    this.#round = new TokenRound(options.environment, (page, request, refresh) =>
      options.tell(page, { type: 'token', holder: options.id, page, request, refresh }),
    )
  }

  get pages(): number {
    return this.#members.size
  }

  hear(message: FromPage): void {
    if (this.#ended) return
    const member = this.#members.get(message.page)
    if (message.type === 'hello') this.#hello(message, member)
    else if (message.type === 'logout') this.#end(true)
    else if (message.type === 'bye') this.forget(message.page)
    else if (member) this.#hearMember(message, member)
    // It was taken for gone, or knows only the holder before this one.
    else this.#options.tell(message.page, { type: 'announce' })
  }

  /** Connects, from the lowest place that a page stands at. Until then pages are only noted. */
  start(): void {
    if (this.#link || this.#ended) return
    const { settings, environment, open, options } = this.#options
    this.#at = lowest([...this.#members.values()].map(member => member.cursor)) ?? settings.cursor
    this.#link = open({ ...settings, cursor: this.#at }, this.#sink(), environment, options)
    this.#asked = this.#wanted()
    this.#covered = this.#asked
    this.#link.visible(this.#isVisible())
    this.#link.want(this.#asked)
    this.#answer()
    this.#armSweep()
  }

  forget(page: string): void {
    const member = this.#members.get(page)
    if (!member) return
    this.#members.delete(page)
    member.gone.abort()
    this.#round.gone(page)
    this.#options.forgotten?.(page)
    if (this.#members.size === 0 && this.#link) {
      this.#end(false)
      return
    }
    this.#link?.visible(this.#isVisible())
    this.#want()
  }

  /** Ends for all pages. */
  close(): void {
    this.#end(false)
  }

  #hello(message: Extract<FromPage, { type: 'hello' }>, known: Member | undefined): void {
    const { page, ask, topics, cursor, visible, lock } = message
    const member = known ?? this.#join(page, lock)
    if (known && !coversAll(known.topics, topics)) member.wantsStates = true
    Object.assign(member, { ask, topics, cursor, visible, lock, waiting: true })
    this.#heard(member)
    const link = this.#link
    if (!link) return
    this.#want()
    // A page that comes may have what a refused connection lacked: a credential.
    if (!known && this.#connection.status === 'closed') link.wake()
    link.visible(this.#isVisible())
  }

  /**
   * Asks the link for what is wanted now, and answers those for whom all comes already.
   *
   * A link that is open goes on with what it has until it connects anew, so that what is new comes from that place on. While it connects it
   * is not asked for anything else: nobody could tell which of the two it has asked the hub for.
   */
  #want(): void {
    const link = this.#link
    if (!link) return
    if (this.#connection.status !== 'connecting') {
      this.#asked = this.#wanted()
      // It stands still, and asks for this when it goes on.
      if (this.#connection.status !== 'open') this.#covered = this.#asked
      link.want(this.#asked)
    }
    this.#answer()
  }

  #answer(): void {
    for (const [page, member] of this.#members) {
      if (member.waiting && coversAll(this.#covered, member.topics)) this.#joined(page, member)
    }
  }

  #hearMember(message: FromPage, member: Member): void {
    this.#heard(member)
    if (message.type === 'wake') this.#link?.wake(message.patient)
    else if (message.type === 'visible') {
      member.visible = message.visible
      this.#link?.visible(this.#isVisible())
    } else if (message.type === 'token') this.#round.answered(message.request, message.answer)
    else if (message.type === 'ping' && this.#link) this.#tellPosition(message.page, member)
  }

  #join(page: string, lock: string | undefined): Member {
    const { environment } = this.#options
    const gone = new AbortController()
    const member: Member = {
      topics: [],
      ask: 0,
      cursor: undefined,
      visible: false,
      lock,
      told: undefined,
      unheard: 0,
      heard: 0,
      waiting: true,
      wantsStates: true,
      gone,
    }
    this.#members.set(page, member)
    if (lock !== undefined && environment.locks) {
      whenReleased(environment.locks, lock, gone.signal, () => this.forget(page))
    }
    return member
  }

  #heard(member: Member): void {
    member.heard = this.#options.environment.now()
  }

  #joined(page: string, member: Member): void {
    member.waiting = false
    member.told = this.#at
    member.unheard = 0
    this.#options.tell(page, {
      type: 'joined',
      holder: this.#options.id,
      page,
      ask: member.ask,
      cursor: this.#at,
      connection: this.#connection,
      present: this.#newest.of(member.topics),
      lock: this.#options.lock,
    })
    const { wantsStates } = member
    member.wantsStates = false
    // A connection that is yet to open brings the states itself.
    if (!wantsStates || this.#connection.status !== 'open' || !this.#newest.unsure(this.#covered)) return
    this.#unsure.add(page)
    if (!this.#isAsking) void this.#askStates()
  }

  /** Tells the pages that came since the opening what the hub would have told them: the states that nobody here knew to be some. */
  async #askStates(): Promise<void> {
    const { id, settings, environment, open, options, tell, token = this.#askPages } = this.#options
    const { signal } = this.#ending
    this.#isAsking = true
    while (this.#unsure.size > 0) {
      const asking = [...this.#unsure]
      const topics = this.#covered
      const names = this.#newest.unsure(topics) ?? []
      try {
        const told = await statesOf({ settings, topics, token, environment, open, options, signal }, () => this.#at)
        // What the connection brings in this time is newer, and would be followed by what is older.
        if (told?.cursor !== undefined && this.#isAhead(told.cursor)) await pause(BEHIND, environment, signal)
        if (!told || this.#ended) return
        const learned = this.#newest.learn(told.states, names)
        // Also to those that came meanwhile, who were given what was known before.
        for (const page of this.#unsure) this.#tellStates(page, learned)
      } catch (cause) {
        if (this.#ended) return
        const error = plainError(cause, 'network')
        for (const page of asking) if (this.#members.has(page)) tell(page, { type: 'error', holder: id, error })
      }
      for (const page of asking) this.#unsure.delete(page)
      if (!this.#newest.unsure(this.#covered)) this.#unsure.clear()
    }
    this.#isAsking = false
  }

  #tellStates(page: string, states: readonly LiveEvent[]): void {
    const member = this.#members.get(page)
    if (!member) return
    const wanted = states.filter(({ topic }) => wants(member.topics, topic))
    const frames = wanted.map(event => ({ type: 'event', event }) as const)
    if (frames.length > 0) this.#tellPosition(page, member, frames)
  }

  /** Says where the holder stands, also to a page that was sent nothing for a while. One that missed something sees it by `from`. */
  #tellPosition(page: string, member: Member, frames: Batch['frames'] = []): void {
    const behind = member.unheard > MOST_UNHEARD
    member.unheard = 0
    this.#tellBatch(page, member, { from: behind ? this.#at : member.told, to: this.#at, frames })
  }

  #tellBatch(page: string, member: Member, batch: Batch): void {
    member.told = batch.to
    this.#options.tell(page, { type: 'batch', holder: this.#options.id, ...batch })
  }

  #sink(): SourceSink {
    const { token, id } = this.#options
    const live = () => !this.#ended
    return {
      batch: batch => live() && this.#batch(batch),
      connection: connection => live() && this.#connected(connection),
      error: error => live() && this.#tellAll({ type: 'error', holder: id, error: plainError(error, 'network') }),
      token: (refresh, signal) => (token ?? this.#askPages)(refresh, signal),
      loggedOut: () => this.#end(true),
    }
  }

  readonly #askPages = (refresh: boolean, signal: AbortSignal): Promise<Token | undefined> => {
    // Who is seen, then who was heard last: one that stands still keeps the others waiting.
    const pages = [...this.#members].sort(([, a], [, b]) => Number(b.visible) - Number(a.visible) || b.heard - a.heard)
    return this.#round.ask(
      pages.map(([page]) => page),
      refresh,
      signal,
    )
  }

  #batch(batch: Batch): void {
    const from = batch.from ?? this.#at
    const to = batch.to ?? this.#at
    for (const event of batch.present ?? []) this.#newest.remember(event)
    for (const frame of batch.frames) if (frame.type === 'event') this.#newest.remember(frame.event)
    for (const part of partsOf({ from, to, frames: batch.frames })) if (!this.#ended) this.#tellPart(part)
  }

  #tellPart({ from, to, frames }: Batch): void {
    this.#at = to
    const { broadcast, id } = this.#options
    if (broadcast) {
      for (const member of this.#members.values()) member.told = to
      broadcast({ type: 'batch', holder: id, from, to, frames })
      return
    }
    for (const [page, member] of this.#members) this.#share(page, member, { from, to, frames })
  }

  /** Gives one page what it wants of a batch. */
  #share(page: string, member: Member, { from, to, frames }: Batch): void {
    const wanted = frames.filter(frame => frame.type === 'gap' || wants(member.topics, frame.event.topic))
    // It is told its place when it asks; only the first place of all it must know at once.
    if (wanted.length === 0 && member.told !== undefined) return
    if (member.unheard > MOST_UNHEARD) return
    member.unheard += 1
    if (member.unheard > MOST_UNHEARD) return
    this.#tellBatch(page, member, { from: member.told ?? from, to, frames: wanted })
  }

  #connected(connection: Connection): void {
    const { cursor } = connection
    if (cursor !== undefined && this.#isAhead(cursor)) this.#batch({ from: this.#at, to: cursor, frames: [] })
    const plain = plainConnection(connection)
    if (isSameConnection(plain, this.#connection)) return
    const before = this.#connection.status
    this.#connection = plain
    this.#tellAll({ type: 'connection', holder: this.#options.id, connection: plain })
    if (before === plain.status) return
    if (plain.status === 'connecting') {
      this.#covered = this.#asked
      this.#answer()
    } else this.#want()
  }

  #isAhead(cursor: string): boolean {
    return this.#at === undefined || (order(this.#at, cursor) ?? 0) < 0
  }

  #tellAll(message: FromHolder): void {
    if (this.#options.broadcast) this.#options.broadcast(message)
    else for (const page of this.#members.keys()) this.#options.tell(page, message)
  }

  #wanted(): Topics {
    return union([...this.#members.values()].map(member => member.topics))
  }

  #isVisible(): boolean {
    return [...this.#members.values()].some(member => member.visible)
  }

  #armSweep(): void {
    const { environment } = this.#options
    this.#sweep = environment.setTimeout(() => {
      const oldest = environment.now() - GONE_AFTER
      for (const [page, member] of this.#members) {
        if (member.lock === undefined && member.heard < oldest) this.forget(page)
      }
      if (!this.#ended) this.#armSweep()
    }, GONE_AFTER)
  }

  #end(logout: boolean): void {
    if (this.#ended) return
    this.#ended = true
    this.#ending.abort()
    const { environment } = this.#options
    environment.clearTimeout(this.#sweep)
    if (logout) this.#tellAll({ type: 'logout' })
    for (const [page, member] of this.#members) {
      member.gone.abort()
      this.#options.forgotten?.(page)
    }
    this.#members.clear()
    this.#round.end(new TidingsError('aborted', 'the shared connection was closed'))
    this.#link?.close(logout)
    this.#link = undefined
    this.#options.ended()
  }
}

const CONNECTING: PlainConnection = {
  status: 'connecting',
  transport: undefined,
  attempt: 0,
  retryAt: undefined,
  error: undefined,
}
