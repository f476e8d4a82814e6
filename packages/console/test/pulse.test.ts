import { expect, test } from 'vitest'
import type { TopicsAnswer } from '../src/model.js'
import { Pulse } from '../src/pulse.js'

const answer = (events: number, since = 0): TopicsAnswer => ({
  topics: [{ topic: 'book/1', profile: 'default', events, rate: 7, last: 0 }],
  known: 1,
  forgotten: 0,
  uncounted: 0,
  since,
})
const [topic] = answer(0).topics

test('the curve is what the count grew by between two looks', () => {
  const pulse = new Pulse()
  pulse.look(answer(10), 0)
  pulse.look(answer(14), 2000)
  const last = answer(20)
  pulse.look(last, 4000)
  pulse.look(last, 4100)
  expect(topic && pulse.of(topic)).toEqual([7, 2, 3])
})

test('a restart of the hub begins anew', () => {
  const pulse = new Pulse()
  pulse.look(answer(1000), 0)
  pulse.look(answer(1, 5), 2000)
  expect(topic && pulse.of(topic)).toEqual([7])
})
