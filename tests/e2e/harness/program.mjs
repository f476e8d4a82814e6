// A program under test: started on a free port, known by its first line, ended by its process id.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { freePort } from './ports.mjs'
import { within } from './wait.mjs'

export class Program {
  /** `command` is the path of the program with what comes before its options; `env` goes over this process's. */
  constructor(name, [binary, ...options], env = {}) {
    this.name = name
    this.binary = binary
    this.options = options
    this.env = { ...process.env, ...env }
    this.port = 0
    this.output = ''
  }

  get url() { return `http://127.0.0.1:${this.port}` }
  get pid() { return this.process.pid }

  /** Starts the program, on the port it had before if it ran before. */
  async start() {
    // Not on port 0: while it is away, a port of those that anybody is given may be given to somebody else.
    for (let tries = this.port ? 1 : 5; ; tries--) {
      try { return await this.#startAt(this.port || await freePort()) } catch (error) {
        if (tries === 1 || !/ is taken: /.test(error.message)) throw error
      }
    }
  }

  async #startAt(port) {
    const child = spawn(this.binary, [...this.options, '--listen', `127.0.0.1:${port}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: this.env,
    })
    this.process = child
    this.ended = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
    let printed = ''
    const listening = new Promise((resolve, reject) => {
      child.stdout.setEncoding('utf8').on('data', text => {
        printed += text
        this.output += text
        const match = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(printed)
        if (match) resolve(Number(match[1]))
      })
      child.stderr.setEncoding('utf8').on('data', text => { this.output += text })
      child.on('error', reject)
      // Not when it ends: what it said last is read behind that.
      child.on('close', (code, signal) => {
        reject(new Error(`${this.name} ended (${code ?? signal}) before it listened:\n${this.output}`))
      })
    })
    listening.catch(() => {})
    this.port = await within(60_000, listening, () => `${this.name} to listen; it said:\n${this.output}`)
  }

  /** Ends it as a power cut would: nothing of its own runs after this. */
  async kill() {
    if (!this.process) return
    this.process.kill('SIGKILL')
    await this.ended
  }

  /** kill -9, and up again on the same port with the same data. */
  async crash() {
    await this.kill()
    await this.start()
  }
}
