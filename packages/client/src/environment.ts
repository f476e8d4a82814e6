import type { Environment } from './types.js'

/** What the client takes from the browser, or from Node, with what is replaced. */
export function environmentOf(replaced: Partial<Environment> = {}): Environment {
  const page = globalThis as Partial<Pick<typeof globalThis, 'window' | 'document' | 'location'>>
  return {
    // Looked up at each call, and called on the global object, which browsers insist on.
    fetch: (input, init) => globalThis.fetch(input, init),
    WebSocket: globalThis.WebSocket,
    SharedWorker: globalThis.SharedWorker,
    BroadcastChannel: globalThis.BroadcastChannel,
    locks: globalThis.navigator?.locks,
    now: () => Date.now(),
    random: () => Math.random(),
    setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
    clearTimeout: timer => globalThis.clearTimeout(timer as ReturnType<typeof setTimeout>),
    window: page.window,
    document: page.document,
    location: page.location?.href,
    ...replaced,
  }
}
