/**
 * One connection for all pages of a browser.
 *
 * A {@link Member} is a page's side, a {@link Holder} has the connection; between them is a way: a SharedWorker, a leader among the
 * pages, or nothing where each page has its own.
 */

import { openLink } from '../link.js'
import type { OpenSource } from '../source.js'
import { shared } from './shared.js'

/** Opens a connection that is shared as {@link ClientOptions.share} says. */
export const openShared: OpenSource = shared(openLink)
