import { failure, reasonOf } from './failure.js'
import { openLink } from './link.js'
import type { OpenSource } from './source.js'
import type { ClientOptions, Environment } from './types.js'

/** Whether pages share a connection: never outside of a page. */
export function shares({ share }: ClientOptions, { window }: Environment): boolean {
  return share !== 'none' && window !== undefined
}

/** The connection that the options ask for. */
export const openSource: OpenSource = (settings, sink, environment, options) =>
  (shares(options, environment) ? sharedOr(openLink, () => import('./share/index.js')) : openLink)(
    settings,
    sink,
    environment,
    options,
  )

/** A shared connection, whose code is loaded first; the page's own if that does not come, or can't do it here. */
export function sharedOr(alone: OpenSource, load: () => Promise<{ openShared: OpenSource }>): OpenSource {
  return (settings, sink, environment, options) => {
    const opened = load()
      .then(({ openShared }) => openShared(settings, sink, environment, options))
      .catch((cause: unknown) => {
        sink.error(failure('sharing', `connections are not shared: ${reasonOf(cause)}`, { cause }))
        return alone(settings, sink, environment, options)
      })
    // In the order in which they were asked for.
    return {
      want: topics => void opened.then(source => source.want(topics)),
      wake: patient => void opened.then(source => source.wake(patient)),
      visible: visible => void opened.then(source => source.visible(visible)),
      close: logout => void opened.then(source => source.close(logout)),
    }
  }
}
