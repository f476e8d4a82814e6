// A hub that is asked about jobs, and answers as a test says.
import { TidingsError } from '../src/errors.js'
import type { Job, JobClient } from '../src/jobs.js'
import type { ClientOptions } from '../src/types.js'
import { browser } from './transports.harness.js'

/** A job that is under way. */
export const document = (more: Partial<Job> = {}): Job => ({
  id: '42',
  kind: 'import',
  state: 'running',
  attempt: 1,
  attempts: 3,
  created: 1,
  updated: 2,
  revision: 2,
  ...more,
})

/** A client of a hub that answers as the test says. */
export function hub(options: Partial<ClientOptions> = {}) {
  const page = browser()
  const client: JobClient = {
    options: { url: 'https://hub.example/', environment: page.environment, ...options },
    request: async (path, init) => {
      try {
        return await page.environment.fetch(new URL(path, 'https://hub.example/'), init)
      } catch (cause) {
        // As the client does.
        if (init?.signal?.aborted) throw new TidingsError('aborted', 'aborted')
        throw new TidingsError('network', 'the hub was not reached', { cause })
      }
    },
  }
  return { ...page, client }
}

export type Hub = ReturnType<typeof hub>
