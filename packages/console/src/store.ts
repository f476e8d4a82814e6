import { useLayoutEffect, useReducer } from 'preact/hooks'

/** A value that tells of its changes. */
export class Store<T> {
  #value: T
  #listeners = new Set<() => void>()

  constructor(value: T) {
    this.#value = value
  }

  get value(): T {
    return this.#value
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return
    this.#value = value
    for (const listener of this.#listeners) listener()
  }

  /** Calls `listener` after each change, until the answer is called. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }
}

/** The value, and a new drawing when it changes. */
export function useStore<T>(store: Store<T>): T {
  const [, redraw] = useReducer((n: number) => n + 1, 0)
  // With the drawing, and not a moment after it: what changes in between would not be drawn.
  useLayoutEffect(() => store.subscribe(() => redraw(undefined as never)), [store])
  return store.value
}
