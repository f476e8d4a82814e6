import type { Environment } from './types.js'

/** What of a page's life matters to a connection. */
export interface PageLife {
  /** The page has come into the foreground, or gone into the background. */
  visible(visible: boolean): void
  /** The network is back, or the page is, out of the browser's back/forward cache. */
  back(): void
}

/** Tells of the page's life; returns what ends that. Does nothing outside of a page. */
export function watchPage({ window, document }: Environment, page: PageLife): () => void {
  const seen = () => page.visible(document?.visibilityState !== 'hidden')
  const back = () => page.back()
  const shown = (event: Event) => {
    // The first `pageshow` of a page is its loading; only from the cache has it a past.
    if ((event as PageTransitionEvent).persisted) back()
  }
  const stop = new AbortController()
  document?.addEventListener('visibilitychange', seen, stop)
  window?.addEventListener('online', back, stop)
  window?.addEventListener('pageshow', shown, stop)
  return () => stop.abort()
}
