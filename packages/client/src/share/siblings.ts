import type { Environment } from '../types.js'

/** What pages of one name tell each other beside their ways. */
export interface Told {
  /** One of them has logged out. */
  loggedOut(): void
  /** One of them has left the worker, and follows a leader from now on. */
  leftWorker(): void
}

type Message = 'logout' | 'leader'

/**
 * The other pages of this name, in whatever way they are connected.
 *
 * A page that is put away hears nothing. So a logout also leaves a mark in the storage, which it finds when it is back.
 */
export class Siblings {
  readonly #name: string
  readonly #environment: Environment
  readonly #told: Told
  #channel: BroadcastChannel | undefined
  #mark: string | null

  constructor(name: string, environment: Environment, told: Told) {
    this.#name = `${name}/logout`
    this.#environment = environment
    this.#told = told
    this.#mark = this.#readMark()
  }

  /** Whether somebody has logged out since this page came. */
  get haveLoggedOut(): boolean {
    return this.#readMark() !== this.#mark
  }

  listen(): void {
    this.#channel ??= this.#open()
    if (!this.#channel) return
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) =>
      data === 'leader' ? this.#told.leftWorker() : this.#told.loggedOut()
  }

  leave(): void {
    this.#channel?.close()
    this.#channel = undefined
  }

  /** Tells them, also those that are in another way or put away. */
  logout(): void {
    const { now, random } = this.#environment
    try {
      this.#storage?.setItem(this.#name, `${now()} ${random()}`)
    } catch {
      // Full or forbidden: those that are there are told all the same.
    }
    this.#tell('logout')
  }

  leaveWorker(): void {
    this.#tell('leader')
  }

  #tell(message: Message): void {
    const channel = this.#channel ?? this.#open()
    channel?.postMessage(message)
    if (channel !== this.#channel) channel?.close()
  }

  #open(): BroadcastChannel | undefined {
    const { BroadcastChannel } = this.#environment
    try {
      return BroadcastChannel && new BroadcastChannel(this.#name)
    } catch {
      // An opaque origin: there are no others.
      return undefined
    }
  }

  #readMark(): string | null {
    try {
      return this.#storage?.getItem(this.#name) ?? null
    } catch {
      return null
    }
  }

  /** Throws where it is forbidden. */
  get #storage(): Storage | undefined {
    return (this.#environment.window as { readonly localStorage?: Storage } | undefined)?.localStorage
  }
}
