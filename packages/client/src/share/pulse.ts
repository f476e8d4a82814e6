import type { Environment } from '../types.js'

/** How often the holder is asked while the page is hidden (ms), so that it knows how far the page is. */
const HIDDEN = 20_000

/** How long the first answer may take, in periods: a worker's script has to come over the network first. */
const FIRST = 5

export interface PulseOptions {
  /** How often the holder is asked while the page is visible, in ms. */
  readonly period: number
  /** How many periods an answer may take now. */
  readonly patience: () => number
  readonly ping: () => void
  readonly dead: () => void
}

/**
 * Finds out whether the holder still answers, for as long as the page is visible.
 *
 * Browsers throttle the timers of hidden pages to one a minute, so that silence says nothing there. A late timer says that the page
 * itself stood still: its answers are waiting behind the timer.
 */
export class Pulse {
  readonly #environment: Environment
  readonly #options: PulseOptions
  #timer: unknown
  #visible: boolean
  #due = 0
  #silent = 0
  #answered = false
  #stopped = false

  constructor(environment: Environment, visible: boolean, options: PulseOptions) {
    this.#environment = environment
    this.#options = options
    this.#visible = visible
    this.#arm()
  }

  /** The holder said something. */
  heard(): void {
    this.#silent = 0
    this.#answered = true
  }

  visible(visible: boolean): void {
    if (visible === this.#visible || this.#stopped) return
    this.#visible = visible
    this.#silent = 0
    this.#environment.clearTimeout(this.#timer)
    if (visible) this.#ping()
    this.#arm()
  }

  stop(): void {
    this.#stopped = true
    this.#environment.clearTimeout(this.#timer)
  }

  #arm(): void {
    const period = this.#visible ? this.#options.period : HIDDEN
    this.#due = this.#environment.now() + period
    this.#timer = this.#environment.setTimeout(() => this.#tick(), period)
  }

  #tick(): void {
    const late = this.#environment.now() - this.#due > this.#options.period / 2
    if (late || !this.#visible) this.#silent = 0
    if (this.#silent > (this.#answered ? this.#options.patience() : FIRST) - 1) {
      this.stop()
      this.#options.dead()
      return
    }
    this.#ping()
    this.#arm()
  }

  #ping(): void {
    this.#silent += 1
    this.#options.ping()
  }
}
