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
  document?.addEventListener('visibilitychange', seen)
  window?.addEventListener('online', back)
  window?.addEventListener('pageshow', shown)
  return () => {
    document?.removeEventListener('visibilitychange', seen)
    window?.removeEventListener('online', back)
    window?.removeEventListener('pageshow', shown)
  }
}
