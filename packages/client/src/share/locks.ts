/** Holds a lock until `signal` aborts. Resolves once it is held; rejects if locks are not to be had here. */
export function hold(locks: LockManager, name: string, signal: AbortSignal): Promise<void> {
  return new Promise((held, failed) => {
    locks
      .request(name, { signal }, () => {
        held()
        return aborted(signal)
      })
      .catch(failed)
  })
}

/** Calls `gone` when whoever holds this lock has released it, as browsers do for a page or a worker that dies. */
export function whenReleased(locks: LockManager, name: string, signal: AbortSignal, gone: () => void): void {
  locks
    .request(name, { mode: 'shared', signal }, () => {
      if (!signal.aborted) gone()
    })
    // Aborted, or not to be had: then nobody is told, and the pings have to find out.
    .catch(() => {})
}

/** Resolves when it aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
