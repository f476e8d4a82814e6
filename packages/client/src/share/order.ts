import { isPast } from '../cursor.js'

/**
 * Which of two places lies further on: negative if `a` lies before `b`, 0 if they are one place, positive if after.
 *
 * `undefined` where that can't be told: cursors of two epochs, or of a mount that spells its ids in another way than protocol §1.1.
 */
export function order(a: string, b: string): number | undefined {
  if (a === b) return 0
  if (a === EARLIEST) return -1
  if (b === EARLIEST) return 1
  if (isPast(a, b)) return -1
  return isPast(b, a) ? 1 : undefined
}

/** The one that lies before all others, as far as that can be told. */
export function lowest(cursors: Iterable<string | undefined>): string | undefined {
  let found: string | undefined
  for (const cursor of cursors) {
    if (cursor === undefined) continue
    if (found === undefined || (order(cursor, found) ?? 0) < 0) found = cursor
  }
  return found
}

/** Asks for the oldest event that is kept (protocol §2.1). */
const EARLIEST = 'earliest'
