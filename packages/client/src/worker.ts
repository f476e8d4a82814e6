/**
 * The script of the SharedWorker that holds the connection for all pages (`@tidings/client/worker`).
 *
 * Bundlers find it by themselves; where they don't, it is given by {@link ClientOptions.worker}.
 */

import { environmentOf } from './environment.js'
import { openLink } from './link.js'
import { WorkerHost } from './share/worker-host.js'

/** SharedWorkerGlobalScope, which the DOM's types don't have. */
interface Scope {
  onconnect: ((event: MessageEvent) => void) | null
}

const host = new WorkerHost(openLink, environmentOf())
;(globalThis as unknown as Scope).onconnect = ({ ports: [port] }) => {
  if (port) host.connect(port)
}
