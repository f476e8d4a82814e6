import { TidingsError } from '../errors.js'
import { coversAll, wants } from '../filter.js'
import type { Batch, OpenSource, Settings, SourceSink } from '../source.js'
import type { ClientOptions, Connection, Environment, Gap, LiveEvent, Sharing } from '../types.js'
import { detour, statesOf } from './detour.js'
import {
  type FromHolder,
  type FromPage,
  isSameConnection,
  livingError,
  type PlainConnection,
  plainError,
  type Topics,
} from './messages.js'
import { keyOf } from './newest.js'
import { order } from './order.js'

/** Messages that are kept while a page reads what it missed (one batch each). What is more is read the same way. */
const MOST_KEPT = 1_000

/** Names and topics of which it is known how new the newest one is. */
const MOST_TIMES = 1_000

/** How late a holder may be to come back, in ms. */
const LATE = 5_000

export interface MemberOptions {
  readonly settings: Settings
  readonly sink: SourceSink
  readonly environment: Environment
  readonly open: OpenSource
  readonly options: ClientOptions
  readonly sharing: () => Sharing
}

type Joined = Extract<FromHolder, { type: 'joined' }>

/** A page's side of a shared connection: its own topics, and its own place in the log. */
export class Member {
  readonly #options: MemberOptions
  #send: ((message: FromPage) => void) | undefined
  #page = ''
  #lock: string | undefined
  #topics: Topics
  #visible = true
  #cursor: string | undefined
  /** Which `hello` was the last, and which was the last that was answered. */
  #ask = 0
  #joined = 0
  #holder: string | undefined
  /** It wants topics of which it was told no states yet. */
  #wantsStates = true
  #connection: PlainConnection = { ...CONNECTING }
  /** What is to be heard after the detour; `undefined` while there is none. */
  #kept: FromHolder[] | undefined
  #stop = new AbortController()
  /** Ends the detour. */
  #reading = new AbortController()
  #told: Connection | undefined
  /** When the newest event of each name and topic was published, as far as it was heard. */
  readonly #times = new Map<string, number>()

  constructor(options: MemberOptions) {
    this.#options = options
    this.#cursor = options.settings.cursor
  }

  get page(): string {
    return this.#page
  }

  get cursor(): string | undefined {
    return this.#cursor
  }

  get isVisible(): boolean {
    return this.#visible
  }

  /** Whether a holder has answered, so that it is known to be there. */
  get isJoined(): boolean {
    return this.#holder !== undefined
  }

  /** Speaks by `send` from now on, as `page`: a new name each time. */
  join(page: string, lock: string | undefined, send: (message: FromPage) => void): void {
    this.leave()
    this.#page = page
    this.#lock = lock
    this.#send = send
    this.#hello()
  }

  /** Speaks to nobody, and keeps its place. */
  leave(): void {
    this.#stop.abort()
    this.#stop = new AbortController()
    this.#endDetour()
    this.#holder = undefined
    this.#send = undefined
  }

  /** Ends for good. */
  closed(): void {
    this.leave()
    this.#ask += 1
    this.#joined = this.#ask
    this.#connection = { ...CONNECTING, status: 'closed' }
    this.tell()
  }

  want(topics: Topics): void {
    const covered = coversAll(this.#topics, topics)
    this.#wantsStates ||= !covered
    this.#topics = topics
    if (this.#send) this.#hello()
    // What is left of the answer to the old `hello` is enough.
    if (covered && this.#joined === this.#ask - 1 && this.#holder !== undefined) this.#joined = this.#ask
    this.tell()
  }

  visible(visible: boolean): void {
    this.#visible = visible
    this.say({ type: 'visible', page: this.#page, visible })
  }

  /** Asks the holder for a sign of life. One whose timers are throttled, as it is hidden, is told that it is time to come back. */
  ping(): void {
    this.say({ type: 'ping', page: this.#page })
    const { status, retryAt } = this.#connection
    const isLate = status === 'waiting' && retryAt !== undefined && this.#options.environment.now() > retryAt + LATE
    if (isLate) this.say({ type: 'wake', page: this.#page })
  }

  say(message: FromPage): void {
    this.#send?.(message)
  }

  hear(message: FromHolder): void {
    switch (message.type) {
      case 'announce':
        this.#hello()
        break
      case 'joined':
        if (message.page !== this.#page || message.ask !== this.#ask) break
        // Batches count from here on: those before may lack what was asked for.
        this.#holder = message.holder
        if (this.#kept && this.#isAt(message.cursor)) this.#endDetour()
        this.#follow(message)
        break
      case 'logout':
        this.#options.sink.loggedOut()
        break
      default:
        if (message.holder === this.#holder) this.#follow(message)
    }
  }

  #hello(): void {
    this.#ask += 1
    this.say({
      type: 'hello',
      page: this.#page,
      ask: this.#ask,
      topics: this.#topics,
      cursor: this.#cursor,
      visible: this.#visible,
      lock: this.#lock,
    })
  }

  #follow(message: FromHolder): void {
    // Order matters only for what has a place.
    if (message.type === 'token') void this.#answerToken(message)
    else if (message.type === 'error') this.#options.sink.error(livingError(message.error))
    else if (!this.#kept) this.#take(message)
    else if (message.type !== 'batch' || this.#kept.length < MOST_KEPT) this.#kept.push(message)
  }

  /** `caughtUp`: what was missing before it has been read, as far as it could be. */
  #take(message: FromHolder, caughtUp = false): void {
    if (message.type === 'connection') {
      this.#connection = message.connection
      this.tell()
    } else if (message.type === 'joined') this.#takeJoined(message, caughtUp)
    else if (message.type === 'batch' && this.#takeBatch(message, message, caughtUp) && this.#isOpen)
      this.#wantsStates = false
  }

  #takeJoined(message: Joined, caughtUp: boolean): void {
    const { cursor } = message
    if (!this.#takeBatch({ from: cursor, to: cursor, frames: [] }, message, caughtUp)) return
    const { present } = message
    const isBehind = cursor !== undefined && this.#isAt(cursor) && cursor !== this.#cursor
    // What a holder knows that is behind is older than what this page has heard; or, if it has not, than what the hub knows.
    if (isBehind && this.#wantsStates) void this.#askStates()
    if (present.length > 0 && (!isBehind || this.#wantsStates)) {
      // States are told as at an opening of its own; who has heard one knows it by its time. The newest signal can't be told from a state.
      this.#tellStates(present.filter(isState), present)
    }
    // While the holder connects they are yet to come, with the opening.
    if (isBehind || message.connection.status === 'open') this.#wantsStates = false
    this.#joined = message.ask
    this.#connection = message.connection
    this.tell()
  }

  /** `false` if something before it is missing, so that it is taken later. */
  #takeBatch(batch: Batch, message: FromHolder, caughtUp: boolean): boolean {
    const begin = batch.from ?? batch.to
    if (this.#cursor !== undefined && begin !== undefined && !this.#isAt(begin) && !caughtUp) {
      void this.#detour(begin, message)
      return false
    }
    this.#deliver(batch)
    return true
  }

  /** Hands on what is new to this page, and moves its place. */
  #deliver({ from: begin, to, frames }: Batch): void {
    const from = this.#cursor
    // Where that belongs which has no place: before the event that follows, or at the end where none does.
    let place = frames.some(frame => placeOf(frame) !== undefined) ? begin : to
    const fresh = frames.filter(frame => {
      place = placeOf(frame) ?? place
      return this.#isNew(frame, place)
    })
    if (to !== undefined && !(from !== undefined && (order(to, from) ?? 1) <= 0)) this.#cursor = to
    if (fresh.length === 0 && this.#cursor === from) return
    this.#options.sink.batch({ from, to: this.#cursor, frames: fresh })
  }

  #isNew(frame: AnyFrame, place: string | undefined): boolean {
    const at = this.#cursor
    if (frame.type === 'gap') {
      // Somebody else's gap: this page had read on.
      if (at !== undefined && (order(at, frame.gap.resumed) ?? -1) >= 0) return false
      this.#cursor = frame.gap.resumed
      return true
    }
    const { cursor, topic } = frame.event
    if (cursor !== undefined) {
      if (at !== undefined && (order(cursor, at) ?? 1) <= 0) return false
      this.#cursor = cursor
    }
    // A state that a new holder was given at a place before this page's, which has heard a newer one.
    else if (at !== undefined && place !== undefined && (order(place, at) ?? 0) < 0 && this.#isOld(frame.event))
      return false
    if (!wants(this.#topics, topic)) return false
    this.#note(frame.event)
    return true
  }

  #isOld(event: LiveEvent): boolean {
    return (event.time ?? 0) <= (this.#times.get(keyOf(event)) ?? -1)
  }

  #note(event: LiveEvent): void {
    if (event.time === undefined) return
    const key = keyOf(event)
    this.#times.delete(key)
    this.#times.set(key, event.time)
    const [oldest] = this.#times.keys()
    if (this.#times.size > MOST_TIMES && oldest !== undefined) this.#times.delete(oldest)
  }

  /** Whether nothing is missing where somebody begins at `begin`: a new holder begins where the last page stands. */
  #isAt(begin: string | undefined): boolean {
    return this.#cursor !== undefined && begin !== undefined && (order(this.#cursor, begin) ?? -1) >= 0
  }

  #endDetour(): void {
    this.#reading.abort()
    this.#kept = undefined
  }

  /** Reads what is missing up to `to`, then goes on with `message` and what came meanwhile. */
  async #detour(to: string, message: FromHolder): Promise<void> {
    this.#reading = new AbortController()
    const { signal } = this.#reading
    const { settings, sink, environment, open, options } = this.#options
    const from = this.#cursor
    this.#kept = [message]
    if (from === undefined) return
    try {
      await detour({
        settings,
        topics: this.#topics,
        from,
        to,
        token: (refresh, stop) => sink.token(refresh, stop),
        environment,
        open,
        options,
        signal,
        batch: batch => signal.aborted || this.#deliver(batch),
      })
    } catch (cause) {
      if (signal.aborted) return
      sink.error(cause instanceof TidingsError ? cause : new TidingsError('sharing', String(cause), { cause }))
      this.#deliver({ from, to, frames: [{ type: 'gap', gap: lost(from, to) }] })
    }
    if (signal.aborted) return
    this.#goOn()
  }

  /** What it wants comes over the holder's connection. */
  get #isOpen(): boolean {
    return this.#joined === this.#ask && this.#connection.status === 'open'
  }

  #tellStates(states: readonly LiveEvent[], present: readonly LiveEvent[] = []): void {
    for (const event of states) this.#note(event)
    const frames = states.map(event => ({ type: 'event', event }) as const)
    this.#options.sink.batch({ from: this.#cursor, to: this.#cursor, frames, present })
  }

  /** Asks the hub for the states at this page's own place. */
  async #askStates(): Promise<void> {
    const { settings, sink, environment, open, options } = this.#options
    const { signal } = this.#stop
    const token: SourceSink['token'] = (refresh, stop) => sink.token(refresh, stop)
    try {
      const asked = { settings, topics: this.#topics, token, environment, open, options, signal }
      const told = await statesOf(asked, () => this.#cursor)
      // It has left, and asks again where it joins.
      if (signal.aborted) this.#wantsStates = true
      if (!told || signal.aborted) return
      if (told.states.length > 0) this.#tellStates(told.states)
    } catch (cause) {
      if (signal.aborted) this.#wantsStates = true
      else sink.error(livingError(plainError(cause, 'sharing')))
    }
  }

  #goOn(): void {
    const [first, ...rest] = this.#kept ?? []
    this.#kept = undefined
    if (first) this.#take(first, true)
    // The first one may have begun another detour.
    for (const message of rest) this.#follow(message)
  }

  async #answerToken({ page, request, refresh }: Extract<FromHolder, { type: 'token' }>): Promise<void> {
    if (page !== this.#page) return
    const { signal } = this.#stop
    try {
      const token = await this.#options.sink.token(refresh, signal)
      this.say({ type: 'token', page, request, answer: { token } })
    } catch (cause) {
      this.say({ type: 'token', page, request, answer: { error: plainError(cause, 'token') } })
    }
  }

  /** Tells how the connection is, if that has changed. */
  tell(): void {
    const { sink, sharing } = this.#options
    const { error, ...connection } = this.#joined === this.#ask ? this.#connection : CONNECTING
    const told: Connection = {
      ...connection,
      error: error && livingError(error),
      sharing: sharing(),
      cursor: this.#cursor,
    }
    if (this.#told && isEqual(told, this.#told)) return
    this.#told = told
    sink.connection(told)
  }
}

type AnyFrame = Batch['frames'][number]

function placeOf(frame: AnyFrame): string | undefined {
  return frame.type === 'gap' ? frame.gap.resumed : frame.event.cursor
}

function isState({ cursor, time }: LiveEvent): boolean {
  return cursor === undefined && time !== undefined
}

function isEqual(a: Connection, b: Connection): boolean {
  return a.sharing === b.sharing && a.cursor === b.cursor && isSameConnection(a, b)
}

function lost(asked: string, resumed: string): Gap {
  return { reason: 'unknown', asked, resumed, atMost: undefined }
}

const CONNECTING: PlainConnection = {
  status: 'connecting',
  transport: undefined,
  attempt: 0,
  retryAt: undefined,
  error: undefined,
}
