import type { ViewName } from './route.js'

/** The views, in the order of the menu. `key` comes after `g`. */
export const PLACES: readonly {
  readonly view: ViewName
  readonly title: string
  readonly short?: string
  readonly key: string
}[] = [
  { view: 'overview', title: 'Overview', key: 'o' },
  { view: 'tail', title: 'Tail', key: 't' },
  { view: 'connections', title: 'Connections', short: 'Conn.', key: 'c' },
  { view: 'topics', title: 'Topics', key: 's' },
  { view: 'jobs', title: 'Jobs', key: 'j' },
  { view: 'publish', title: 'Publish', key: 'p' },
  { view: 'explain', title: 'Explain', key: 'e' },
  { view: 'log', title: 'Log', key: 'l' },
]
