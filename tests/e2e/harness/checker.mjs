// What was published, what each subscriber was told, and whether the two fit: each event once and in order to everybody who may see
// it, or a gap that covers what is missing.

/** A cursor as what it says: `{epoch, offset}`. */
export function place(cursor) {
  const match = /^([0-9a-f]{8})-(\d+)$/.exec(cursor ?? '')
  if (!match) throw new Error(`${JSON.stringify(cursor)} is no cursor`)
  return { epoch: match[1], offset: Number(match[2]) }
}

const shown = ({ epoch, offset }) => `${epoch}-${offset}`

/** Everything that publishers tried to publish. An event's data has its `id`, which no other event has. */
export class Published {
  #events = new Map()
  #epochs = []

  /**
   * Notes an event before it is sent. `series` is a publisher's one topic, in which `n` grows; `audience` is whatever `sees` of the
   * histories decides by.
   */
  sent({ id, series, n, topic, audience }) {
    const event = { id, series, n, topic, audience, place: undefined, refused: undefined }
    this.#events.set(id, event)
    return event
  }

  /** It was answered with its cursor. */
  acknowledged(event, cursor) {
    event.place = place(cursor)
    if (!this.#epochs.includes(event.place.epoch)) this.#epochs.push(event.place.epoch)
  }

  /** Whether one epoch of the log was over before the other; of one in which nothing was acknowledged it is held that it was the first. */
  isOlder(epoch, than) { return this.#epochs.indexOf(epoch) < this.#epochs.indexOf(than) }

  /** It was answered with a 4xx: nobody may ever see it. */
  refused(event, status) { event.refused = status }

  get(id) { return this.#events.get(id) }
  all() { return this.#events.values() }
  get acknowledgedCount() { return [...this.all()].filter(event => event.place).length }
}

/** What one subscriber was told, in the order in which it was told it. */
export class History {
  entries = []
  /** Why and when it ended for good; nothing if it lived to the end. */
  end = undefined
  /** When its principal was revoked, if it was. */
  revoked = undefined

  /** `sees(event)` says whether it asked for the event and may see it. */
  constructor(name, { sees = () => true, now = Date.now } = {}) {
    Object.assign(this, { name, sees, now })
  }

  /** It is let in and told its position: where it begins, or goes on. Without one it begins with the first that it hears. */
  opened(cursor) { this.entries.push({ kind: 'open', place: cursor && place(cursor), at: this.now() }) }
  /** It was cut off, or sent away. */
  left() { this.entries.push({ kind: 'left', at: this.now() }) }
  heard(cursor, id) { this.entries.push({ kind: 'event', place: place(cursor), id, at: this.now() }) }
  /** It is told of a gap, up to this position. */
  gap({ resumed, reason }) { this.entries.push({ kind: 'gap', place: place(resumed), reason }) }
  ended(why) { this.end ??= { why, at: this.now() } }
  wasRevoked() { this.revoked = this.now() }

  get gaps() { return this.entries.filter(({ kind }) => kind === 'gap') }
  get events() { return this.entries.filter(({ kind }) => kind === 'event') }
}

/** Milliseconds for which a revoked principal may go on hearing: invariant 3 of ARCHITECTURE.md. */
export const REVOKED_WITHIN = 1_000

/**
 * Judges all histories. The verdict's `faults` are `{kind, sentence}`; there are none if all is well. A suite that has to hold on a
 * machine of any speed gives its revoked principals longer to be out.
 */
export function judge(published, histories, { revokedWithin = REVOKED_WITHIN } = {}) {
  const verdict = new Verdict()
  const places = new Places(verdict)
  for (const event of published.all()) if (event.place) places.take(event.place, event.id, 'its publisher')
  for (const history of histories) new Reading({ published, history, places, verdict, revokedWithin }).judge()
  verdict.published = published.acknowledgedCount
  verdict.histories = histories.length
  return verdict
}

class Verdict {
  faults = []
  delivered = 0
  gaps = 0
  published = 0
  histories = 0

  get isGood() { return this.faults.length === 0 }
  add(kind, sentence) { this.faults.push({ kind, sentence }) }

  /** The verdict in a few lines: how many faults of each kind, and the first of each as witnesses. */
  explain(witnesses = 3) {
    const seen = `${this.published} events acknowledged, ${this.delivered} deliveries to ${this.histories} subscribers read, ${this.gaps} gaps told`
    if (this.isGood) return `nothing missing, doubled or out of order: ${seen}`
    const lines = [...byKind(this.faults)].flatMap(([kind, faults]) => [
      `${kind}: ${faults.length}`,
      ...faults.slice(0, witnesses).map(({ sentence }) => `  ${sentence}`),
      ...(faults.length > witnesses ? [`  … and ${faults.length - witnesses} more`] : []),
    ])
    return [`${this.faults.length} faults: ${seen}`, ...lines].join('\n')
  }
}

function byKind(faults) {
  const kinds = new Map()
  for (const fault of faults) kinds.set(fault.kind, [...kinds.get(fault.kind) ?? [], fault])
  return kinds
}

/** Which event is at which place of the log: everybody must agree. */
class Places {
  #idAt = new Map()
  #placeOf = new Map()

  constructor(verdict) { this.verdict = verdict }

  take(place, id, who) {
    const at = shown(place)
    const other = this.#idAt.get(at)
    if (other === undefined) this.#idAt.set(at, id)
    else if (other !== id) this.verdict.add('misread', `${who} was told of ${id} at ${at}, where ${other} is`)
    const before = this.#placeOf.get(id)
    if (before === undefined) this.#placeOf.set(id, at)
    else if (before !== at) this.verdict.add('published twice', `${who} was told of ${id} at ${at}; it is at ${before} as well`)
  }
}

/** One history, read from the beginning. */
class Reading {
  #begin
  #at
  #seen = new Set()
  #newest = new Map()
  #gaps = []

  constructor({ published, history, places, verdict, revokedWithin }) {
    Object.assign(this, { published, history, places, verdict, revokedWithin })
  }

  judge() {
    for (const entry of this.history.entries) this[entry.kind](entry)
    if (!this.#begin) return this.#fault('never opened', `was never told where it is${this.#ending()}`)
    this.#judgeEnd()
    for (const event of this.published.all()) this.#judgeMissing(event)
  }

  open({ place }) {
    if (!place) return
    this.#begin ??= place
    // An opening is no proof that what lies before it was told: only what came counts.
    this.#at ??= place
    if (place.epoch !== this.#at.epoch) this.#changedEpoch(place)
  }

  gap({ place }) {
    this.verdict.gaps++
    this.#begin ??= place
    this.#gaps.push({ from: this.#at ?? place, to: place })
    this.#at = place
  }

  left() {}

  event({ place, id, at }) {
    this.verdict.delivered++
    const event = this.published.get(id)
    if (!event) return this.#fault('invented', `was told of ${id} at ${shown(place)}, which nobody published`)
    this.#begin ??= { epoch: place.epoch, offset: place.offset - 1 }
    this.#at ??= this.#begin
    this.places.take(place, id, this.history.name)
    this.#judgeRight(event, at)
    this.#judgeOrder(event, place)
    this.#seen.add(id)
    this.#at = place
  }

  #judgeRight(event, at) {
    if (event.refused) this.#fault('refused and seen', `was told of ${event.id}, whose publish was refused with ${event.refused}`)
    if (!this.history.sees(event)) this.#fault('not for it', `was told of ${event.id} on ${event.topic}, which is not for it`)
    const { revoked } = this.history
    if (revoked !== undefined && at > revoked + this.revokedWithin) {
      this.#fault('after revocation', `was told of ${event.id} ${at - revoked} ms after it was revoked`)
    }
  }

  #judgeOrder({ id, series, n }, place) {
    if (this.#seen.has(id)) this.#fault('doubled', `was told of ${id} at ${shown(place)} again`)
    else if (place.epoch !== this.#at.epoch) this.#changedEpoch(place)
    else if (place.offset <= this.#at.offset) {
      this.#fault('out of order', `was told of ${id} at ${shown(place)} after ${shown(this.#at)}`)
    } else if (n <= this.#newest.get(series)) {
      this.#fault('out of order', `was told of number ${n} of ${series} after number ${this.#newest.get(series)}`)
    }
    this.#newest.set(series, Math.max(n, this.#newest.get(series) ?? n))
  }

  #changedEpoch(place) {
    this.#fault('no word of a gap', `went from ${shown(this.#at)} on to ${shown(place)}, of another epoch, and was told of no gap`)
    this.#at = place
  }

  #judgeEnd() {
    const { end, revoked } = this.history
    if (revoked === undefined) {
      if (end && !end.expected) this.#fault('gave up', `ended for good: ${end.why}`)
    } else if (!end) this.#fault('after revocation', 'was revoked, and goes on')
    else if (this.#wasIn(revoked + this.revokedWithin)) this.#fault('after revocation', `was still in ${this.revokedWithin} ms after it was revoked, and ended after ${end.at - revoked}`)
  }

  /** Whether it was in at that time, or was let in later. Who is cut off just then may come back later, and is refused. */
  #wasIn(time) {
    const { entries, end } = this.history
    if (end.at <= time) return false
    const comings = entries.filter(({ kind }) => kind === 'open' || kind === 'left')
    return comings.findLast(({ at }) => at <= time)?.kind === 'open' || comings.some(({ kind, at }) => kind === 'open' && at > time)
  }

  #judgeMissing(event) {
    if (!event.place || this.#seen.has(event.id) || !this.history.sees(event)) return
    const { epoch, offset } = event.place
    if (epoch === this.#begin.epoch && offset <= this.#begin.offset || this.published.isOlder(epoch, this.#begin.epoch)) return
    if (this.history.end && epoch === this.#at.epoch && offset > this.#at.offset) return
    if (this.#gaps.some(gap => covers(gap, event.place))) return
    this.#fault('missing', `was never told of ${event.id} at ${shown(event.place)}, and of no gap there; it read from ${shown(this.#begin)} to ${shown(this.#at)}${this.#ending()}`)
  }

  #ending() { return this.history.end ? ` and ended (${this.history.end.why})` : '' }
  #fault(kind, sentence) { this.verdict.add(kind, `${this.history.name} ${sentence}`) }
}

/** Whether a place lies in a gap. Between two epochs it is all that is behind the one place and all up to the other. */
function covers({ from, to }, { epoch, offset }) {
  if (from.epoch === to.epoch) return epoch === from.epoch && offset > from.offset && offset <= to.offset
  if (epoch === from.epoch) return offset > from.offset
  return epoch !== to.epoch || offset <= to.offset
}
