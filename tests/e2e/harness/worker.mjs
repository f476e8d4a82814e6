// The program that does the jobs of a hub about books: started, and ended by its process id.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { root } from './hub.mjs'
import { WORKER } from './jobs.mjs'

export const binary = process.env.TIDINGS_BOOKS_BINARY ?? join(root, 'target/debug/tidings-books')

/** Starts a worker for the imports of a hub. Ends with the test. */
export function startWorker(t, hub, { args = ['--profile', 'bookstrack', '--kinds', 'import'], more = [], key = WORKER } = {}) {
  const child = spawn(binary, ['work', '--hub', hub.url, ...args, ...more], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, TIDINGS_KEY: key },
  })
  const worker = { pid: child.pid, output: '' }
  child.stderr.setEncoding('utf8').on('data', text => { worker.output += text })
  const ended = once(child, 'exit')
  /** Ends it as a power cut would. */
  worker.kill = async () => { child.kill('SIGKILL'); await ended }
  t.after(worker.kill)
  return worker
}
