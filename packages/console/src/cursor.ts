/** Cursors taken apart, for what an operator looks at. Clients take them as a whole. */

import type { LoggedEvent, LogInfo } from './model.js'

const CURSOR = /^(\w+)-(\d+)$/

/** The number in a cursor: what an operator compares. */
export function offsetOf(cursor: string | null): string | undefined {
  return CURSOR.exec(cursor ?? '')?.[2]
}

/** The place behind what was read of the log, newest first. `log` was asked for before that: nothing is between the two. */
export function placeBehind(
  read: readonly Pick<LoggedEvent, 'cursor'>[],
  log: Pick<LogInfo, 'epoch' | 'last'> | undefined,
): string | undefined {
  return read[0]?.cursor ?? log?.last ?? (log && `${log.epoch}-0`)
}

/** The place behind the event at `cursor`: the log answers what is before a place. */
export function cursorAfter(cursor: string): string | undefined {
  const [, epoch, offset] = CURSOR.exec(cursor) ?? []
  return epoch && offset ? `${epoch}-${BigInt(offset) + 1n}` : undefined
}
