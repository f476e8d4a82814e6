import type { Gap } from '@tidings/client'
import { count } from './format.js'
import type { LoggedEvent } from './model.js'
import type { Came } from './tail.js'

/** What the log had when it was read after a gap, or why it could not be read. */
export type Reread = { readonly events: readonly LoggedEvent[]; readonly before?: string } | Error

/**
 * What belongs into the tail after gaps: the gaps, then what the log has up to where the newest goes on, oldest first.
 *
 * `isKnown` tells what the tail has already: a log that went back a little begins with that.
 */
export function afterGaps(
  gaps: readonly Gap[],
  logged: Reread | undefined,
  isKnown: (event: LoggedEvent) => boolean,
  now: number,
): Came[] {
  const read = logged && !(logged instanceof Error) ? logged.events.filter(event => !isKnown(event)).toReversed() : []
  const rows = gaps.map((gap, index) => {
    const isLast = index === gaps.length - 1
    const { reason, asked, resumed, atMost } = gap
    return {
      name: '',
      topic: '',
      data: { reason, asked, resumed, at_most: atMost },
      time: now,
      cursor: undefined,
      audience: undefined,
      profile: undefined,
      gap: [why(gap), isLast && logged ? found(logged, read.length) : ''].filter(Boolean).join(' '),
    }
  })
  return [...rows, ...read]
}

function why({ reason, atMost }: Gap): string {
  switch (reason) {
    case 'other-epoch':
      return "Events may be missing here: the log's history was lost."
    case 'trimmed':
      return `${atMost === undefined ? 'Events are' : `Up to ${count(atMost)} events are`} missing here: retention removed them before this page had them.`
    case 'ahead':
      return 'Events may be missing here: the log ends before the place that this page had reached.'
    default:
      return 'Events may be missing here: the hub does not know the place that this page had reached.'
  }
}

function found(logged: Reread, read: number): string {
  if (logged instanceof Error) return `The log could not be read again: ${logged.message}`
  if (read === 0) return 'The log has no others from before this page was connected again.'
  const events = read === 1 ? 'One event was' : `${count(read)} events were`
  return `${events} read from the log again${logged.before ? '; it has older ones too.' : '.'}`
}
