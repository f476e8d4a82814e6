import { expect, test } from 'vitest'
import { fraction, further, isJob, isOlder, newestFirst, withJob } from '../src/joblist.js'
import type { Job } from '../src/model.js'

const job = (part: Partial<Job> = {}): Job => ({
  id: 'j1',
  kind: 'import',
  state: 'running',
  attempt: 1,
  attempts: 3,
  created: 1,
  updated: 10,
  revision: 2,
  ...part,
})

test('the newer of two documents counts, in whatever order they come', () => {
  const newer = job({ state: 'completed', revision: 3 })
  for (const order of [
    [job(), newer],
    [newer, job()],
  ]) {
    expect(order.reduce(withJob, new Map<string, Job>()).get('j1')).toBe(newer)
  }
})

test('of two with one revision, the one with the later progress counts', () => {
  const later = job({ updated: 20, progress: { done: 2 } })
  expect(withJob(new Map([['j1', later]]), job({ updated: 15, progress: { done: 1 } })).get('j1')).toBe(later)
})

test('the newest stand first', () => {
  expect(newestFirst([job({ id: 'a' }), job({ id: 'b', created: 5 })]).map(({ id }) => id)).toEqual(['b', 'a'])
})

test('a list that has been read in part ends with the last that was read, and one that was read to its end nowhere', () => {
  const [newest, older, oldest] = [job({ created: 9 }), job({ id: 'j3', created: 5 }), job({ id: 'j2', created: 5 })]
  const first = further({ jobs: [newest, older], before: '5-j3' }, 'running')
  expect(first).toEqual({ state: 'running', last: older, before: '5-j3' })
  expect([newest, older, oldest].map(each => isOlder(each, older))).toEqual([false, false, true])
  // A request looks through a bounded part: it may find none, and say where it goes on.
  expect(further({ jobs: [], before: '4-x' }, 'running', first)).toMatchObject({ last: older, before: '4-x' })
  expect(further({ jobs: [oldest] }, 'running', first)).toMatchObject({ last: undefined, before: undefined })
})

test('a part of the whole is known where the worker said how much there is', () => {
  expect(fraction(job())).toBeUndefined()
  expect(fraction(job({ progress: { done: 3 } }))).toBeUndefined()
  expect(fraction(job({ progress: { done: 3, total: 4 } }))).toBe(0.75)
  expect(fraction(job({ progress: { done: 9, total: 4 } }))).toBe(1)
  expect(fraction(job({ state: 'completed' }))).toBe(1)
})

test('what somebody else calls job.something is no job', () => {
  expect([isJob(job()), isJob(null), isJob('x'), isJob({ id: 1 })]).toEqual([true, false, false, false])
})
