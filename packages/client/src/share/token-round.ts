import { TidingsError } from '../errors.js'
import type { Environment, Token } from '../types.js'
import { livingError, type TokenAnswer } from './messages.js'

/** How long one page may take (ms): its provider may have to ask a server. */
const PATIENCE = 10_000

/** Asks pages for a credential, one after the other, until one has an answer. Providers are functions and live in pages. */
export class TokenRound {
  readonly #environment: Environment
  readonly #ask: (page: string, request: number, refresh: boolean) => void
  readonly #open = new Map<number, { page: string; answer: (answer: TokenAnswer) => void }>()
  #requests = 0

  constructor(environment: Environment, ask: (page: string, request: number, refresh: boolean) => void) {
    this.#environment = environment
    this.#ask = ask
  }

  /** Asks `pages` in this order. Rejects with the last refusal if none has an answer. */
  async ask(pages: readonly string[], refresh: boolean, signal: AbortSignal): Promise<Token | undefined> {
    let failure = new TidingsError('token', 'no page is there to ask for a credential', { retrying: true })
    for (const page of pages) {
      const answer = await this.#askOne(page, refresh, signal)
      if (signal.aborted) throw new TidingsError('aborted', 'the credential is not needed any more')
      if ('token' in answer) return answer.token
      failure = livingError(answer.error)
    }
    throw failure
  }

  answered(request: number, answer: TokenAnswer): void {
    this.#open.get(request)?.answer(answer)
  }

  /** This page gives no answers any more. */
  gone(page: string): void {
    for (const asked of [...this.#open.values()]) {
      if (asked.page === page) asked.answer({ error: unanswered('it was closed') })
    }
  }

  /** No page gives any. */
  end(error: TidingsError): void {
    for (const asked of [...this.#open.values()]) asked.answer({ error })
  }

  #askOne(page: string, refresh: boolean, signal: AbortSignal): Promise<TokenAnswer> {
    const request = ++this.#requests
    return new Promise(resolve => {
      const answer = (given: TokenAnswer) => {
        this.#open.delete(request)
        this.#environment.clearTimeout(timer)
        signal.removeEventListener('abort', abort)
        resolve(given)
      }
      const abort = () => answer({ error: unanswered('it was not needed any more') })
      const timer = this.#environment.setTimeout(
        () => answer({ error: unanswered(`nothing came in ${PATIENCE} ms`) }),
        PATIENCE,
      )
      signal.addEventListener('abort', abort)
      this.#open.set(request, { page, answer })
      this.#ask(page, request, refresh)
    })
  }
}

function unanswered(why: string): TidingsError {
  return new TidingsError('token', `a page was asked for a credential, and ${why}`, { retrying: true })
}
