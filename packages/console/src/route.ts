/** Where in the console one is: `#/tail?topic=book/*`. Links to a place work in another tab and after a reload. */

export const VIEWS = ['overview', 'tail', 'connections', 'topics', 'jobs', 'publish', 'explain', 'log'] as const
export type ViewName = (typeof VIEWS)[number]

export interface Route {
  readonly view: ViewName
  readonly query: Readonly<Record<string, string>>
}

export function parseRoute(hash: string): Route {
  const [path = '', search = ''] = hash.replace(/^#?\/?/, '').split(/\?(.*)/s)
  const view = VIEWS.find(name => name === path) ?? 'overview'
  return { view, query: Object.fromEntries(new URLSearchParams(search)) }
}

/** The hash of a place; parameters that are empty are left out. */
export function formatRoute(view: ViewName, query: Readonly<Record<string, string | undefined>> = {}): string {
  const said = Object.entries(query).filter((entry): entry is [string, string] => Boolean(entry[1]))
  const search = new URLSearchParams(said).toString()
  // Topics are read by people: their slashes and stars stay as they are, which a fragment allows (RFC 3986 §3.5).
  return `#/${view}${search ? `?${search.replaceAll('%2F', '/').replaceAll('%2A', '*')}` : ''}`
}
