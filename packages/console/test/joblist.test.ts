import { expect, test } from 'vitest'
import { fraction, isJob, newestFirst, withJob } from '../src/joblist.js'
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
