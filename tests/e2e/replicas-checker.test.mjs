// The checker finds each fault in a history that somebody made up, and finds nothing in one that is well.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { History, judge, Published } from './harness/checker.mjs'

const EPOCH = '0000abcd'
const at = (offset, epoch = EPOCH) => `${epoch}-${offset}`

/** Five events of two series, acknowledged at 11 to 15. */
function publishFive() {
  const published = new Published()
  for (let n = 1; n <= 5; n++) {
    const topic = n % 2 ? 'room/1' : 'room/2'
    published.acknowledged(published.sent({ id: `e${n}`, series: topic, n, topic, audience: n === 5 ? 'staff' : 'all' }), at(10 + n))
  }
  return published
}

/** A history in words: `in`, `open 10`, `e1 11`, `gap 13`, `end`. */
function history(steps, options) {
  const made = new History('somebody', options)
  for (const step of steps) {
    const [word, offset, epoch] = step.split(' ')
    if (word === 'in') made.opened()
    else if (word === 'open') made.opened(at(offset, epoch))
    else if (word === 'gap') made.gap({ resumed: at(offset, epoch), reason: 'trimmed' })
    else if (word === 'end') made.ended('the test wants it')
    else made.heard(at(offset, epoch), word)
  }
  return made
}

const kinds = verdict => [...new Set(verdict.faults.map(({ kind }) => kind))]
const all = ['open 10', 'e1 11', 'e2 12', 'e3 13', 'e4 14', 'e5 15']

const wells = {
  'each event once and in order': all,
  'one who was told of its place by its first event': ['in', 'e3 13', 'e4 14', 'e5 15'],
  'one who came later': ['open 12', 'e3 13', 'e4 14', 'e5 15'],
  'one who came back': ['open 10', 'e1 11', 'e2 12', 'open 12', 'e3 13', 'e4 14', 'e5 15'],
  'one who was told of a gap': ['open 10', 'e1 11', 'gap 14', 'open 14', 'e5 15'],
  'one who was told of another epoch': ['open 3 0000ffff', 'gap 10', 'e1 11', 'e2 12', 'e3 13', 'e4 14', 'e5 15'],
}
for (const [name, steps] of Object.entries(wells)) {
  test(`the checker is content with ${name}`, () => {
    const verdict = judge(publishFive(), [history(steps)])
    assert.deepEqual(verdict.faults, [])
    assert.match(verdict.explain(), /nothing missing, doubled or out of order: 5 events/)
  })
}

const without = id => all.filter(step => !step.startsWith(id))
const faults = {
  'an event that is missing in the middle': ['missing', without('e3')],
  'an event that is missing at the end': ['missing', without('e5')],
  'an event that a gap does not cover': ['missing', ['open 10', 'gap 12', 'e4 14', 'e5 15']],
  'an opening that passes over events without a gap': ['missing', ['open 10', 'e1 11', 'open 14', 'e5 15']],
  'a doubled event': ['doubled', [...all, 'e5 15']],
  'two events in the wrong order': ['out of order', ['open 10', 'e1 11', 'e3 13', 'e2 12', 'e4 14', 'e5 15']],
  'an event that nobody published': ['invented', [...all, 'e6 16']],
  'another event in a place': ['misread', ['open 10', 'e1 11', 'e2 12', 'e3 13', 'e4 14', 'e5 14']],
  'an event in two places': ['published twice', ['open 10', 'e1 11', 'e2 12', 'e3 13', 'e4 14', 'e5 16']],
  'another epoch without a word': ['no word of a gap', ['open 3 0000ffff', ...all]],
  'a client that gave up': ['gave up', [...all, 'end']],
  'a client that was never let in': ['never opened', []],
}
for (const [name, [kind, steps]] of Object.entries(faults)) {
  test(`the checker finds ${name}`, () => {
    const verdict = judge(publishFive(), [history(steps)])
    assert.ok(kinds(verdict).includes(kind), verdict.explain())
    assert.match(verdict.explain(), new RegExp(`${kind}: \\d+\n  somebody `))
  })
}

test('the checker finds an event that was told to who may not see it, and misses none of it for them', () => {
  const sees = ({ audience }) => audience === 'all'
  assert.deepEqual(kinds(judge(publishFive(), [history(without('e5'), { sees })])), [])
  assert.deepEqual(kinds(judge(publishFive(), [history(all, { sees })])), ['not for it'])
})

test('the checker finds an event whose publish was refused', () => {
  const published = publishFive()
  published.refused(published.sent({ id: 'bad', series: 'room/1', n: 6, topic: 'room/1' }), 422)
  assert.deepEqual(kinds(judge(published, [history([...all, 'bad 16'])])), ['refused and seen'])
})

test('the checker asks nothing about an event without an answer, but that it comes once', () => {
  const published = publishFive()
  published.sent({ id: 'cut', series: 'room/1', n: 6, topic: 'room/1' })
  assert.deepEqual(kinds(judge(published, [history(all), history([...all, 'cut 16'])])), [])
  assert.deepEqual(kinds(judge(published, [history([...all, 'cut 16', 'cut 16'])])), ['doubled'])
})

test('the checker asks nothing of an older log from who came to a new one, and all of the new one from both', () => {
  const published = publishFive()
  published.acknowledged(published.sent({ id: 'new', series: 'room/1', n: 6, topic: 'room/1' }), at(3, '0000ffff'))
  const late = history(['open 2 0000ffff', 'new 3 0000ffff'])
  const early = history(['open 13', 'e4 14', 'gap 2 0000ffff', 'new 3 0000ffff'])
  assert.deepEqual(judge(published, [late, early]).faults, [])
  const [deaf, stuck] = [history(['open 2 0000ffff']), history(all)]
  assert.equal(judge(published, [deaf, stuck]).faults.filter(({ kind }) => kind === 'missing').length, 2)
})

test('the checker finds a number of one publisher after a later one, whatever the places say', () => {
  const published = new Published()
  for (const [id, n, offset] of [['a', 2, 11], ['b', 1, 12]]) {
    published.acknowledged(published.sent({ id, series: 'room/1', n, topic: 'room/1' }), at(offset))
  }
  assert.deepEqual(kinds(judge(published, [history(['open 10', 'a 11', 'b 12'])])), ['out of order'])
})

test('the checker finds who goes on after its revocation, and who is told of something then', () => {
  let time = 0
  const told = steps => {
    const made = history([], { now: () => time })
    time = 0
    for (const [when, step] of steps) {
      time = when
      step(made)
    }
    return judge(publishFive(), [made])
  }
  const begin = [[0, made => made.opened(at(10))], [5, made => made.heard(at(11), 'e1')], [10, made => made.wasRevoked()]]
  assert.deepEqual(kinds(told([...begin, [900, made => made.heard(at(12), 'e2')], [1_000, made => made.ended('revoked')]])), [])
  assert.match(told(begin).explain(), /goes on/)
  assert.match(told([...begin, [1_200, made => made.ended('revoked')]]).explain(), /ended after 1190/)
  assert.deepEqual(kinds(told([...begin, [500, made => made.left()], [1_200, made => made.ended('refused')]])), [], 'cut off, it came back and was refused')
  assert.match(told([...begin, [500, made => made.left()], [1_200, made => made.opened(at(11))], [1_300, made => made.ended('revoked')]]).explain(), /still in/)
  assert.match(told([...begin, [1_200, made => made.heard(at(12), 'e2')]]).explain(), /told of e2 1190 ms after/)
})

test('two who disagree about a place are found, though each is well alone', () => {
  const published = new Published()
  for (const id of ['a', 'b']) published.sent({ id, series: id, n: 1, topic: 'room/1' })
  const verdict = judge(published, [history(['open 10', 'a 11', 'b 12']), history(['open 10', 'b 11', 'a 12'])])
  assert.ok(kinds(verdict).includes('misread'), verdict.explain())
})
