/** Cursors taken apart, for what an operator looks at. Clients take them as a whole. */

const CURSOR = /^(\w+)-(\d+)$/

/** The number in a cursor: what an operator compares. */
export function offsetOf(cursor: string | null): string | undefined {
  return CURSOR.exec(cursor ?? '')?.[2]
}

/** The place behind the event at `cursor`: the log answers what is before a place. */
export function cursorAfter(cursor: string): string | undefined {
  const [, epoch, offset] = CURSOR.exec(cursor) ?? []
  return epoch && offset ? `${epoch}-${BigInt(offset) + 1n}` : undefined
}
