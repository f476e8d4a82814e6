import { TidingsError } from './errors.js'
import { openLink } from './link.js'
import type { OpenSource, Source } from './source.js'
import { reasonOf } from './token.js'
import type { ClientOptions, Environment } from './types.js'

/** Gives what opens a connection that pages share. */
export type LoadShared = () => Promise<OpenSource>

const loadShared: LoadShared = () => import('./share/index.js').then(module => module.openShared)

/** Whether pages share a connection: never outside of a page. */
export function shares({ share }: ClientOptions, { window }: Environment): boolean {
  return share !== 'none' && window !== undefined
}

/** The connection that the options ask for. */
export const openSource: OpenSource = (settings, sink, environment, options) =>
  shares(options, environment)
    ? openSharedOr(openLink, loadShared)(settings, sink, environment, options)
    : openLink(settings, sink, environment, options)

/** A shared connection, whose code is loaded first; the page's own if that does not come, or can't do it here. */
export function openSharedOr(alone: OpenSource, load: LoadShared): OpenSource {
  return (settings, sink, environment, options) => {
    /** What was asked in the meantime. */
    const asked: ((source: Source) => void)[] = []
    let source: Source | undefined
    const ask = (question: (source: Source) => void) => {
      if (source) question(source)
      else asked.push(question)
    }
    const use = (open: OpenSource) => {
      source = open(settings, sink, environment, options)
      for (const question of asked.splice(0)) question(source)
    }
    load()
      .then(use)
      .catch((cause: unknown) => {
        sink.error(
          new TidingsError('sharing', `this page has its own connection: ${reasonOf(cause)}`, {
            retrying: true,
            cause,
          }),
        )
        if (!source) use(alone)
      })
    return {
      want: topics => ask(source => source.want(topics)),
      wake: () => ask(source => source.wake()),
      visible: visible => ask(source => source.visible(visible)),
      close: logout => ask(source => source.close(logout)),
    }
  }
}
