import type { SeenEvent } from './model.js'
import { topicTest } from './pattern.js'

/** What of the tail is shown. Empty fields ask for nothing. */
export interface TailFilter {
  /** A pattern, or a part of the path. */
  readonly topic: string
  /** A part of the name. */
  readonly name: string
  /** A part of the data as JSON, upper and lower case alike. */
  readonly text: string
}

export const NO_FILTER: TailFilter = { topic: '', name: '', text: '' }

export function isEmpty(filter: TailFilter): boolean {
  return !filter.topic.trim() && !filter.name.trim() && !filter.text.trim()
}

/** The filter as a function, with what can be prepared done once. */
export function eventTest(filter: TailFilter): (event: SeenEvent) => boolean {
  const topic = topicTest(filter.topic)
  const name = filter.name.trim().toLowerCase()
  const text = filter.text.trim().toLowerCase()
  return event =>
    topic(event.topic) &&
    (name === '' || event.name.toLowerCase().includes(name)) &&
    (text === '' || event.text.toLowerCase().includes(text))
}
