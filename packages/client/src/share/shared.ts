import { TidingsError } from '../errors.js'
import type { OpenSource, Settings, Source, SourceSink } from '../source.js'
import type { ClientOptions, Environment } from '../types.js'
import { hasLeader, leaderWay } from './leader-way.js'
import { Member } from './member.js'
import { shareName } from './name.js'
import { ownWay } from './own-way.js'
import { Siblings } from './siblings.js'
import type { OpenWay, Way } from './way.js'
import { workerWay } from './worker-way.js'

/** Sources that share the connections which `open` makes. */
export function shared(open: OpenSource): OpenSource {
  return (settings, sink, environment, options) => new Shared(open, settings, sink, environment, options)
}

/** A connection that the pages of a browser share, in the best way there is. */
class Shared implements Source {
  readonly #open: OpenSource
  readonly #settings: Settings
  readonly #sink: SourceSink
  readonly #environment: Environment
  readonly #options: ClientOptions
  readonly #member: Member
  /** The ways that are left, best first. The last one is always open. */
  readonly #ways: OpenWay[]
  readonly #forget: () => void
  readonly #name: string
  #way: Way | undefined
  readonly #siblings: Siblings
  #begun = false
  /** The page is put away, or frozen. */
  #away = false
  #over = false

  constructor(
    open: OpenSource,
    settings: Settings,
    sink: SourceSink,
    environment: Environment,
    options: ClientOptions,
  ) {
    this.#open = open
    this.#settings = settings
    this.#sink = sink
    this.#environment = environment
    this.#options = options
    this.#name = shareName(settings, options.token)
    this.#ways = waysOf(options, settings, environment)
    this.#siblings = new Siblings(this.#name, environment, {
      loggedOut: () => this.#loggedOut(),
      leftWorker: () => this.#leaveWorker(),
    })
    this.#member = new Member({
      settings,
      sink: { ...bound(sink), loggedOut: () => this.#loggedOut() },
      environment,
      open,
      options,
      sharing: () => this.#way?.sharing ?? 'none',
    })
    this.#member.visible(environment.document?.visibilityState !== 'hidden')
    this.#forget = this.#watchLife()
    if (!isOneUser(options, settings) && !complained.has(options)) {
      complained.add(options)
      sink.error(new TidingsError('sharing', NO_SCOPE, { retrying: true }))
    }
  }

  want(topics: readonly string[] | undefined): void {
    if (this.#over) return
    this.#member.want(topics)
    if (this.#begun) return
    this.#begun = true
    // In a microtask, so that all who begin together ask once.
    void this.#joinLeader().then(() => this.#begin())
  }

  wake(patient = false): void {
    this.#member.say({ type: 'wake', page: this.#member.page, patient })
  }

  visible(visible: boolean): void {
    if (this.#way) this.#way.visible(visible)
    else this.#member.visible(visible)
  }

  close(logout: boolean): void {
    if (this.#over) return
    this.#over = true
    this.#forget()
    if (logout) {
      // Also from a page that is not connected.
      this.#way?.logout?.()
      this.#siblings.logout()
    }
    this.#leave()
    this.#member.closed()
  }

  /** Where the worker has died the pages have a leader, and this one goes with them: two ways are two connections. */
  async #joinLeader(): Promise<void> {
    const { locks } = this.#environment
    if (this.#mayFollow && locks && (await hasLeader(locks, this.#name)) && this.#mayFollow) this.#ways.shift()
  }

  /** Whether it is with the worker, or would be, and a leader is the next best. */
  get #mayFollow(): boolean {
    return this.#ways[0] === workerWay && this.#ways[1] === leaderWay
  }

  /** Another page has found that the worker does not work. */
  #leaveWorker(): void {
    if (this.#mayFollow) this.#fall(new TidingsError('sharing', LEFT, { retrying: true }))
  }

  /** Takes the best way that is left. */
  #begin(): void {
    if (this.#away || this.#over) return
    this.#siblings.listen()
    while (!this.#over && !this.#way) {
      const [open = ownWay] = this.#ways
      try {
        this.#way = open({
          member: this.#member,
          name: this.#name,
          settings: this.#settings,
          environment: this.#environment,
          open: this.#open,
          options: this.#options,
          token: (refresh, signal) => this.#sink.token(refresh, signal),
          failed: error => this.#fall(error),
        })
      } catch (cause) {
        this.#ways.shift()
        this.#sink.error(refused(cause))
      }
    }
    this.#member.tell()
  }

  /** This way is closed: the next one goes on from the same place. */
  #fall(error: TidingsError): void {
    if (this.#over) return
    // All together, for two ways are two connections. Whoever is told says it on, to one that has stood still and is behind.
    if (this.#mayFollow) this.#siblings.leaveWorker()
    this.#leave()
    this.#ways.shift()
    this.#sink.error(error)
    if (this.#over) return
    this.#begin()
  }

  #leave(): void {
    const way = this.#way
    this.#way = undefined
    way?.leave()
    this.#member.leave()
    this.#siblings.leave()
  }

  #loggedOut(): void {
    if (this.#over) return
    this.#over = true
    this.#forget()
    this.#leave()
    this.#member.closed()
    this.#sink.loggedOut()
  }

  /**
   * Gives locks and channels back while the page is put away, for browsers don't keep a page that has any; a frozen one would
   * have its messages pile up.
   */
  #watchLife(): () => void {
    const { window, document } = this.#environment
    const away = () => {
      this.#away = true
      this.#leave()
    }
    const back = () => {
      this.#away = false
      if (this.#siblings.haveLoggedOut) this.#loggedOut()
      else if (this.#begun && !this.#way) void this.#joinLeader().then(() => this.#begin())
    }
    const watched = [
      [window, 'pagehide', away],
      [window, 'pageshow', back],
      [document, 'freeze', away],
      [document, 'resume', back],
    ] as const
    for (const [target, type, listener] of watched) target?.addEventListener(type, listener)
    return () => {
      for (const [target, type, listener] of watched) target?.removeEventListener(type, listener)
    }
  }
}

/** What is possible here, best first. What the browser simply does not have is passed over in silence. */
function waysOf(options: ClientOptions, settings: Settings, environment: Environment): OpenWay[] {
  const ways: OpenWay[] = []
  const { share = 'auto', worker } = options
  if (!isOneUser(options, settings)) return [ownWay]
  const has = { worker: environment.SharedWorker || worker, leader: environment.locks && environment.BroadcastChannel }
  if (has.worker && (share === 'auto' || share === 'worker')) ways.push(workerWay)
  if (has.leader && (share === 'auto' || share === 'leader')) ways.push(leaderWay)
  return [...ways, ownWay]
}

/** Whether all pages of this name are of one user: a provider gives the token of whoever is logged in, and its name says nothing. */
function isOneUser({ token }: ClientOptions, { scope }: Settings): boolean {
  return typeof token !== 'function' || scope !== ''
}

const LEFT = 'the shared worker is left, for another page got no answer from it'

const NO_SCOPE =
  'this page has a connection of its own: with a token provider, set the option `scope` to who is logged in (the user’s id), so that only pages of one user share one'

/** Clients that were told so: once is enough. */
const complained = new WeakSet<ClientOptions>()

function refused(cause: unknown): TidingsError {
  if (cause instanceof TidingsError) return cause
  const message = `a connection can not be shared in this way here: ${cause instanceof Error ? cause.message : cause}`
  return new TidingsError('sharing', message, { retrying: true, cause })
}

function bound(sink: SourceSink): SourceSink {
  return {
    batch: batch => sink.batch(batch),
    connection: connection => sink.connection(connection),
    error: error => sink.error(error),
    token: (refresh, signal) => sink.token(refresh, signal),
    loggedOut: () => sink.loggedOut(),
  }
}
