// Publishers and subscribers of all four transports around some replicas, and the checker's word on what they heard.
import assert from 'node:assert/strict'
import { judge, Published } from './checker.mjs'
import { listen, LISTENERS } from './listeners.mjs'
import { Publisher } from './publisher.mjs'
import { keyOf } from './replicas.mjs'
import { until } from './wait.mjs'

/** What nobody but the staff may see: every seventh event. */
const audience = n => (n % 7 ? ['everyone'] : ['role/staff'])
const TOPICS = ['room/1', 'room/2', 'hall/1']

/** Who hears what: by the filter it asks with, and by what it may see. */
const ROLES = {
  reader: { topics: ['room/*'], sees: ({ topic, audience: [grant] }) => topic.startsWith('room/') && grant === 'everyone' },
  staff: { topics: [], sees: () => true },
}

/**
 * Opens the listeners, and then lets publishers begin. `url` is where all go, or `urls` has one for each listener in turn. `each` is
 * how many listeners there are of each transport and role; with `cursor` they begin there. What was published before stands in `published`.
 * Who is revoked has to be out after `revokedWithin` milliseconds, which is long, as a test's machine may be slow.
 */
export async function startAudience(t, { url, urls = [url], publishTo = url, each = 1, publishers = 1, pace, onEvent, cursor, published, revokedWithin = 30_000 } = {}) {
  const crowd = new Audience({ published, revokedWithin })
  for (const transport of Object.keys(LISTENERS)) for (const [role, what] of Object.entries(ROLES)) for (let i = 1; i <= each; i++) {
    crowd.listeners.push(listen(t, {
      ...what, transport, name: `${transport} ${role} ${i}`, key: keyOf(role), cursor, onEvent, url: urls[crowd.listeners.length % urls.length],
    }))
  }
  await Promise.all(crowd.listeners.map(listener => listener.isIn()))
  for (let i = 1; i <= publishers; i++) {
    crowd.publishers.push(new Publisher(t, { name: `p${i}`, url: publishTo, key: keyOf('app'), published: crowd.published, topics: TOPICS, audience, pace }))
  }
  return crowd
}

class Audience {
  listeners = []
  publishers = []

  constructor({ published = new Published(), revokedWithin }) { Object.assign(this, { published, revokedWithin }) }

  get publisher() { return this.publishers[0] }
  get histories() { return this.listeners.map(({ history }) => history) }
  judge() { return judge(this.published, this.histories, { revokedWithin: this.revokedWithin }) }

  /** Publishes so many events, where the publisher does not by itself. */
  async publish(count) {
    for (let i = 0; i < count; i++) await this.publisher.one(TOPICS[i % TOPICS.length])
  }

  /** Waits until more has been published, and everybody has been told of what there was by then. */
  async grows(more = 20, by = 60_000) {
    await Promise.all(this.publishers.map(publisher => publisher.grows(more, by)))
    await this.hasHeard(by)
  }

  /** Waits until everybody who lives has heard all that is acknowledged by now, or was told of a gap there. */
  async hasHeard(by = 60_000) {
    const acknowledged = [...this.published.all()].filter(event => event.place)
    const behind = () => this.listeners.filter(listener => !listener.isClosed && !this.#hasPassed(listener, acknowledged))
    await until(() => `${behind().map(({ name }) => name).join(', ')} to hear all;\n${this.judge().explain()}`, () => behind().length === 0, by)
  }

  /** Whether the last of what it was told is not before the last that it is to be told. */
  #hasPassed({ history }, events) {
    const last = events.findLast(event => history.sees(event))
    const told = (history.entries.findLast(({ kind }) => kind === 'event' || kind === 'gap') ?? history.entries.findLast(({ place }) => place))?.place
    return !last || told && (told.epoch === last.place.epoch ? told.offset >= last.place.offset : !this.published.isOlder(told.epoch, last.place.epoch))
  }

  /** Ends publishing, waits until all is heard, and asks the checker. */
  async assertWell({ gaps = 0 } = {}) {
    await Promise.all(this.publishers.map(publisher => publisher.stop()))
    await this.hasHeard()
    const verdict = this.judge()
    assert.ok(verdict.isGood, verdict.explain())
    assert.equal(verdict.gaps, gaps, verdict.explain())
    return verdict
  }
}
