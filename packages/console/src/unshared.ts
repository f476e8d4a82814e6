/** In place of the client's sharing among pages, which the console does not want: each tab shows its own connection. */

export { openLink as openShared } from '../../client/src/link.js'
