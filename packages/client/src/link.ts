import { LEAST_RETRY, reconnectDelay } from './backoff.js'
import { ANSWER, Choice, FIRST_BYTE, HANDSHAKE, proxyError } from './choose.js'
import { isPlace } from './cursor.js'
import { TidingsError } from './errors.js'
import { coversAll, MOST } from './filter.js'
import { type LoadTransport, loadTransport } from './load.js'
import { judgeLoss, type Verdict, verdict } from './lost.js'
import { readOn } from './reading.js'
import type { Ending, Frame, OpenSource, Settings, Source, SourceSink, Transport, TransportRequest } from './source.js'
import { Timers } from './timers.js'
import { tokenFailed } from './token.js'
import type { CloseReason, Connection, Environment, Token, TransportName } from './types.js'
import type { widen } from './widen.js'

/** Changes of what is wanted are taken together for this long, in ms: a page that draws makes many. */
const COALESCE = 50

/** What is wanted no more is left out with the next connection, or after this long, in ms. */
const NARROW = 30_000

/** A new credential is asked for this long before the old one runs out, in ms; less for those that live shorter than 5 minutes. */
const MARGIN = 30_000

/** A connection that ends sooner than this after its opening was no success, in ms: whoever ends each at once would be asked without pause. */
const HASTY = 5_000

/** An attempt that is younger is as good as one that is begun now, in ms: all pages tell of a network that is back. */
const YOUNG = 1_000

/** So many UTF-16 code units of topics in a query are looked at closer: as few as more than {@link MOST} can be. */
const MUCH = MOST * '&topic='.length + MOST

/** One page's own connection. */
export const openLink: OpenSource = (settings, sink, environment) =>
  new Link(settings, sink, environment, loadTransport)

/** One attempt to be connected, and the connection it becomes. */
interface Run {
  readonly stop: AbortController
  readonly transport: TransportName
  readonly begun: number
  /** What was wanted when it was asked for. */
  wanted?: readonly string[] | undefined
  /** What was asked for, once it was: its topics are all of that, or more. */
  request?: TransportRequest
  /** When the hub took it. */
  opened?: number
  close?: CloseReason | undefined
}

type TimerName = 'retry' | 'answer' | 'want' | 'narrow' | 'renew' | 'better' | 'background'

/**
 * A connection that is kept: a cursor into the hub's log, and what reads on from there.
 *
 * All that changes what is asked for (topics, credential, transport) ends the connection and makes one from the cursor on, so that what
 * was to come in between comes with it, and nothing comes twice.
 */
export class Link implements Source {
  readonly #settings: Settings
  readonly #sink: SourceSink
  readonly #environment: Environment
  readonly #load: LoadTransport
  readonly #choice: Choice
  readonly #timers: Timers<TimerName>

  #status: Connection['status'] = 'connecting'
  #error: TidingsError | undefined
  #run: Run | undefined
  #begun = false
  /** `close` was called: nothing comes after it. */
  #over = false
  #seen = true
  #wanted: readonly string[] | undefined
  #cursor: string | undefined
  #attempt = 0
  /** It was open before. */
  #wasOpen = false
  /** The most patterns to ask for. A hub or a proxy may take fewer than we thought. */
  #most = MOST
  /** Loaded where many are wanted. */
  #widen: typeof widen | undefined
  /** Until then a `Retry-After` counts. */
  #notBefore = 0
  #base: number
  #token: Token | undefined
  /** The next attempt needs another credential, for the last one was refused. */
  #refresh = false
  /** It was refused since the last opening, so that the next refusal is for good. */
  #renewed = false

  constructor(settings: Settings, sink: SourceSink, environment: Environment, load: LoadTransport) {
    this.#settings = settings
    this.#sink = sink
    this.#environment = environment
    this.#load = load
    this.#choice = new Choice(settings, environment)
    this.#timers = new Timers(environment)
    this.#base = settings.backoff.base
    if (isPlace(settings.cursor)) this.#cursor = settings.cursor
  }

  want(topics: readonly string[] | undefined): void {
    // No topic at all would be sent as none named, which is everything.
    if (this.#over || topics?.length === 0) return
    this.#wanted = topics
    if (!this.#begun) {
      this.#begun = true
      // In a microtask, so that all who begin together ask once.
      void Promise.resolve().then(() => this.#begin())
      return
    }
    const run = this.#run
    if (!run?.request) return
    this.#timers.clear('want', 'narrow')
    if (!coversAll(run.request.topics, topics)) {
      // At once: whatever the old connection still told would move the place beyond what it leaves out.
      this.#end()
      this.#tell('connecting', this.#error)
      this.#timers.set('want', COALESCE, () => this.#connect())
    } else if (!coversAll(topics, run.wanted)) this.#timers.set('narrow', NARROW, () => this.#connect())
  }

  wake(patient = false): void {
    if (this.#over || !this.#begun) return
    const run = this.#run
    if (run ? this.#choice.isBest && !this.#hangs(run) : patient && this.#left() > 0) return
    this.#most = MOST
    this.#choice.restart(true)
    this.#timers.clear('better')
    if (!run) this.#attempt = 0
    this.#renewed &&= this.#status !== 'closed'
    this.#watchBackground()
    this.#connect()
  }

  visible(visible: boolean): void {
    if (visible === this.#seen) return
    this.#seen = visible
    if (this.#over || !this.#begun) return
    this.#watchBackground()
    if (!visible || this.#status !== 'waiting') return
    // Not before the hub wants it, if it said when.
    const left = this.#left()
    if (left <= 0) this.#connect()
    else if (!this.#timers.has('retry')) this.#retryIn(left, this.#error)
  }

  close(): void {
    if (this.#over) return
    this.#over = true
    this.#end()
    this.#timers.clear()
    this.#tell('closed')
  }

  /** It was not answered yet, and may never be: its network is another one by now. */
  #hangs({ opened, begun }: Run): boolean {
    return opened === undefined && this.#environment.now() - begun >= YOUNG
  }

  /** How long a `Retry-After` counts yet, in ms. */
  #left(): number {
    return this.#notBefore - this.#environment.now()
  }

  #begin(): void {
    if (this.#over || this.#run) return
    this.#watchBackground()
    this.#connect()
  }

  #watchBackground(): void {
    this.#timers.clear('background')
    const grace = this.#settings.backgroundGrace
    if (this.#seen || grace === undefined) return
    this.#timers.set('background', grace, () => this.#pause())
  }

  /** Nobody looks: no connection, and no attempt, until somebody does. */
  #pause(): void {
    if (this.#status === 'closed') return
    this.#end()
    this.#timers.clear()
    this.#choice.restart(true)
    this.#tell('waiting')
  }

  /** Begins a run in place of the one there is. */
  #connect(): void {
    this.#end()
    this.#timers.clear('retry')
    const transport = this.#choice.current
    if (transport === undefined) {
      this.#closeFor(new TidingsError('refused', 'no transport is possible here'))
      return
    }
    const run: Run = { stop: new AbortController(), transport, begun: this.#environment.now() }
    this.#run = run
    this.#tell('connecting', this.#error)
    if (this.#run === run) void this.#attemptWith(run)
  }

  async #attemptWith(run: Run): Promise<void> {
    try {
      const token = await this.#sink.token(this.#refresh, run.stop.signal).catch(tokenFailed)
      if (this.#run !== run) return
      this.#token = token
    } catch (error) {
      if (this.#run === run) this.#waitFor(error as TidingsError)
      return
    }
    let transport: Transport
    try {
      if ((this.#wanted?.join('&topic=').length ?? 0) > MUCH) this.#widen ??= (await import('./widen.js')).widen
      const loading = this.#load(run.transport)
      transport = loading instanceof Promise ? await loading : loading
    } catch (cause) {
      // The code did not come: offline, or a newer release has taken its place.
      if (this.#run === run) this.#ended(run, { kind: 'ended', cause })
      return
    }
    if (this.#run === run) this.#ask(run, transport)
  }

  #ask(run: Run, transport: Transport): void {
    const { query, headers, credentials, silence, url, paths, cursor } = this.#settings
    run.wanted = this.#wanted
    run.request = {
      url: new URL(paths[run.transport] || '', url),
      probe: paths.poll === false ? undefined : new URL(paths.poll, url),
      query,
      topics: this.#widen ? this.#widen(run.wanted, this.#most) : run.wanted,
      cursor: this.#cursor ?? cursor,
      token: this.#token?.token,
      headers,
      credentials,
      silence,
    }
    this.#refresh = false
    // A poll that is held is answered late; the transport has its own bound.
    if (run.transport !== 'poll') {
      this.#timers.set('answer', run.transport === 'sse' ? ANSWER : HANDSHAKE, () => this.#unanswered(run))
    }
    transport(
      run.request,
      {
        opened: () => this.#run === run && this.#opened(run),
        frames: frames => this.#run === run && this.#frames(run, frames),
        ended: ending => this.#run === run && this.#ended(run, ending),
      },
      this.#environment,
      run.stop.signal,
    )
  }

  #opened(run: Run): void {
    run.opened = this.#environment.now()
    this.#renewed = false
    if (this.#choice.reached()) {
      const error = proxyError('cuts streams')
      if (this.#fall(error)) return
      this.#sink.error(error)
    }
    if (run.transport === 'sse') {
      this.#timers.set('answer', FIRST_BYTE, () => this.#unanswered(run))
      return
    }
    this.#isOpen(run)
  }

  /** The connection is there and works. */
  #isOpen(run: Run): void {
    this.#timers.clear('answer')
    this.#wasOpen = true
    this.#scheduleRenewal(run)
    this.#tell('open')
  }

  /** Neither head nor bytes, while a hub sends both at once. */
  #unanswered(run: Run): void {
    if (run.opened === undefined) {
      this.#choice.steady()
      void this.#answered(run, { kind: 'ended', cause: 'no answer' }, undefined)
      return
    }
    const error = proxyError('holds streams back')
    if (this.#fall(error)) return
    // The last one stays: late is better than never.
    this.#isOpen(run)
    this.#sink.error(error)
  }

  #frames(run: Run, told: readonly Frame[]): void {
    run.opened ??= this.#environment.now()
    const from = this.#cursor
    const { frames, cursor, retry, close } = readOn(told, from)
    if (this.#status !== 'open' && !close) this.#isOpen(run)
    // Somebody may have closed when he was told.
    if (this.#run !== run) return
    this.#cursor = cursor
    if (retry !== undefined) this.#base = Math.max(retry, LEAST_RETRY)
    run.close = close
    if (frames.length > 0 || cursor !== from) this.#sink.batch({ from, to: cursor, frames })
    // A listener may have closed, or changed what is wanted.
    if (close && this.#run === run) this.#ended(run, { kind: 'ended', cause: undefined })
  }

  #ended(run: Run, ending: Ending): void {
    const open = run.opened === undefined ? undefined : this.#environment.now() - run.opened
    const isSteady = ending.kind !== 'ended' || run.close
    if (isSteady) this.#choice.steady()
    const loss = judgeLoss(ending, run.close)
    if (!loss) void this.#answered(run, ending, open)
    else if (!isSteady && this.#choice.cut(open, ending.isBlocked))
      this.#follow({ next: 'fall', error: proxyError('passes no WebSocket on') }, open)
    else this.#follow(loss, open)
  }

  /** Not with a stream, or not yet. Who knows more of that is loaded first. */
  async #answered(run: Run, ending: Ending, open: number | undefined): Promise<void> {
    const { opened, request } = run
    const follow = (known?: Verdict): void => {
      // It may have been opened after all.
      if (this.#run !== run || run.opened !== opened) return
      // Whoever has no code for us either may still have said when.
      const least = ending.kind === 'refused' ? ending.retryAfter : 0
      const unknown = () => verdict('wait', 'unavailable', 'refused', {}, least)
      this.#follow(known ?? judgeLoss(ending, undefined) ?? unknown(), open)
    }
    this.#timers.set('answer', HANDSHAKE, follow)
    const more = await import('./ending.js').catch(() => undefined)
    const known = await more?.explain(ending, run, this.#renewed, this.#wasOpen, this.#environment)
    if (known?.next === 'widen' && this.#run === run && request?.topics) {
      this.#widen = more?.widen
      this.#most = request.topics.length >> 2
      this.#comeBack(known.error)
    } else follow(known)
  }

  #follow({ next, error, least }: Verdict, open: number | undefined): void {
    // Refused at the door: once more with a new credential, and no more. Ended later: the old one was good for a while.
    const refused = open === undefined
    if (next === 'refresh') {
      this.#refresh = true
      this.#renewed ||= refused
    }
    if (next === 'close') this.#closeFor(error)
    else if (next === 'refresh' && (refused || open >= HASTY)) this.#comeBack(error)
    else if (next !== 'fall' || !this.#fall(error)) this.#waitFor(error, least)
  }

  /** The next transport at once, unless this is the last. */
  #fall(error: TidingsError): boolean {
    const again = this.#choice.fall()
    if (again === undefined) return false
    this.#timers.set('better', again, () => this.#tryBetter())
    this.#comeBack(error)
    return true
  }

  /** At once. */
  #comeBack(error: TidingsError): void {
    // Told with the attempt, by which a failure differs from an exchange.
    this.#error = error
    this.#sink.error(error)
    if (!this.#over) this.#connect()
  }

  #tryBetter(): void {
    this.#choice.restart(false)
    // Whoever waits or is closed begins with it anyway.
    if (this.#run) this.#connect()
  }

  #waitFor(error: TidingsError, least = 0): void {
    this.#end()
    const backoff = { base: this.#base, cap: Math.max(this.#settings.backoff.cap, this.#base) }
    const delay = reconnectDelay(this.#attempt, backoff, this.#environment.random, least)
    this.#attempt += 1
    this.#notBefore = this.#environment.now() + least
    this.#retryIn(delay, error)
    this.#sink.error(error)
  }

  #retryIn(delay: number, error: TidingsError | undefined): void {
    this.#timers.set('retry', delay, () => this.#connect())
    this.#tell('waiting', error, this.#environment.now() + delay)
  }

  #closeFor(error: TidingsError): void {
    this.#end()
    this.#timers.clear()
    this.#tell('closed', error)
    this.#sink.error(error)
  }

  #end(): void {
    const run = this.#run
    if (run?.opened !== undefined && this.#environment.now() - run.opened >= HASTY) this.#attempt = 0
    this.#run = undefined
    this.#timers.clear('answer', 'want', 'narrow', 'renew')
    run?.stop.abort()
  }

  /** Gets the next credential shortly before this one is over, while the connection goes on; then changes over. */
  #scheduleRenewal({ stop: { signal } }: Run): void {
    const left = (this.#token?.expires ?? 0) - this.#environment.now()
    if (left <= 0) return
    this.#timers.set('renew', left - Math.min(MARGIN, left / 10), () => {
      const renewed = import('./renew.js').then(({ renew }) =>
        renew(this.#sink, this.#settings, this.#environment, signal),
      )
      // Where the code does not come the hub says when it is over.
      renewed.then(
        () => signal.aborted || this.#connect(),
        () => {},
      )
    })
  }

  #tell(status: Connection['status'], error?: TidingsError, retryAt?: number): void {
    this.#status = status
    this.#error = error
    this.#sink.connection({
      status,
      transport: this.#run?.transport,
      sharing: 'none',
      cursor: this.#cursor,
      attempt: status === 'open' ? 0 : this.#attempt,
      retryAt,
      error,
    })
  }
}
