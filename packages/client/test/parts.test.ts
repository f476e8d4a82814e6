import { describe, expect, test } from 'vitest'
import { partsOf } from '../src/share/parts.js'
import type { Batch } from '../src/source.js'
import { at, event, gap } from './world.js'

type BatchFrame = Batch['frames'][number]
const frames = (...all: unknown[]) => all as BatchFrame[]

describe('a batch for a page', () => {
  test('is one part where it is small', () => {
    const batch = { from: at(0), to: at(9), frames: frames(event(1), event(2)) }
    expect([...partsOf(batch, 2)]).toEqual([batch])
  })

  test('is cut where it is large, and each part says from where to where it reaches', () => {
    const all = frames(event(1), event(2), event(undefined), event(undefined), gap(7), event(8), event(undefined))
    expect([...partsOf({ from: at(0), to: at(9), frames: all }, 2)]).toEqual([
      { from: at(0), to: at(2), frames: all.slice(0, 2) },
      { from: at(2), to: at(2), frames: all.slice(2, 4) },
      { from: at(2), to: at(8), frames: all.slice(4, 6) },
      { from: at(8), to: at(9), frames: all.slice(6) },
    ])
  })

  test('has 1,000 frames at most', () => {
    const all = frames(...Array.from({ length: 2_500 }, (_, n) => event(n + 1)))
    const parts = [...partsOf({ from: at(0), to: at(2_500), frames: all })]
    expect(parts.map(part => part.frames.length)).toEqual([1_000, 1_000, 500])
    expect(parts.flatMap(part => part.frames)).toEqual(all)
  })
})
