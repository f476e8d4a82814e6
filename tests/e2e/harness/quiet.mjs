// What a page asks for, and when it has nothing more to ask for.
import { until } from './wait.mjs'

/** Milliseconds by the clock of the page: longer than the page puts off a request for others to join it. */
const ROUND = 600

const isStream = path => /\/(events|ws|poll)$/.test(path)

/** Notes what the pages of a context ask for, as `GET /path`. `quiet(page)` waits until that page has what it asked for. */
export function watchRequests(context) {
  const asked = [], open = new Set()
  context.on('request', request => {
    const { pathname } = new URL(request.url())
    asked.push(`${request.method()} ${pathname}`)
    if (['fetch', 'xhr'].includes(request.resourceType()) && !isStream(pathname)) open.add(request)
  })
  for (const end of ['requestfinished', 'requestfailed']) context.on(end, request => open.delete(request))
  /** Until all is answered, and the page has had time of its own to ask for more, and has not. */
  const quiet = page => until(() => `the page to ask for no more; it asked for ${asked.slice(-5).join(', ')}`, async () => {
    const before = asked.length
    await lives(page, ROUND)
    return open.size === 0 && asked.length === before
  })
  return { asked, quiet }
}

/** Waits until the page itself has lived so many milliseconds: each of its timers that was due by then has run. */
export function lives(page, milliseconds) {
  return page.evaluate(time => new Promise(done => { setTimeout(done, time) }), milliseconds)
}
