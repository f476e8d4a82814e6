import type { Gap } from '@tidings/client'
import { expect, test } from 'vitest'
import { afterGaps } from '../src/gap.js'
import type { LoggedEvent } from '../src/model.js'

const gap = (reason: Gap['reason'], atMost?: number): Gap => ({ reason, asked: 'aa-9', resumed: 'bb-2', atMost })
const logged = (...numbers: number[]): LoggedEvent[] =>
  numbers.map(n => ({
    name: `n${n}`,
    topic: 't',
    profile: 'default',
    data: n,
    time: n,
    cursor: `bb-${n}`,
    audience: [],
  }))
const texts = (came: ReturnType<typeof afterGaps>) => came.map(({ gap, name }) => gap ?? name)
const unknown = () => false

test('after a gap comes why, then what the log has, oldest first', () => {
  expect(texts(afterGaps([gap('other-epoch')], { events: logged(2, 1) }, unknown, 0))).toEqual([
    "Events may be missing here: the log's history was lost. 2 events were read from the log again.",
    'n1',
    'n2',
  ])
})

test('what the tail has already is not told again', () => {
  const came = afterGaps([gap('ahead')], { events: logged(2, 1), before: 'bb-1' }, ({ time }) => time === 1, 0)
  expect(texts(came)).toEqual([expect.stringMatching(/One event was read .* it has older ones too/), 'n2'])
})

test('a log that could not be read is told of', () => {
  expect(texts(afterGaps([gap('unknown')], new Error('The hub does not answer.'), unknown, 0))).toEqual([
    expect.stringMatching(/could not be read again: The hub does not answer\.$/),
  ])
})

test('what retention took is gone, and each gap is told', () => {
  expect(texts(afterGaps([gap('other-epoch'), gap('trimmed', 12)], undefined, unknown, 0))).toEqual([
    "Events may be missing here: the log's history was lost.",
    'Up to 12 events are missing here: retention removed them before this page had them.',
  ])
})
