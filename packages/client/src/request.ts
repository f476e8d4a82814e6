import { TidingsError } from './errors.js'
import { aborted, reasonOf, safely } from './failure.js'
import type { Settings } from './source.js'
import type { Tokens } from './token.js'
import type { Environment, Token } from './types.js'

/** A request to the hub with the credential of the client; once more with a new one if that was refused. */
export async function send(
  path: string,
  init: RequestInit,
  settings: Settings,
  tokens: Tokens,
  environment: Environment,
): Promise<Response> {
  const url = addressOf(path, settings.url)
  const signal = init.signal ?? undefined
  const headers = headersOf(init, settings)
  // Who brings a credential of its own has it judged as it is.
  if (headers.has('authorization')) return ask(url, init, settings, headers, undefined, environment)
  const token = await tokens.get(false, signal)
  const response = await ask(url, init, settings, headers, token, environment)
  // What was streamed can't be sent again.
  if (response.status !== 401 || init.body instanceof ReadableStream) return response
  const renewed = await tokens.renew(token, signal)
  if (renewed?.token === token?.token) return response
  response.body?.cancel().catch(() => {})
  return ask(url, init, settings, headers, renewed, environment)
}

/** The caller's headers over those of the options. */
function headersOf(init: RequestInit, { headers: more }: Settings): Headers {
  return safely(() => {
    const headers = new Headers(more)
    new Headers(init.headers).forEach((value, name) => {
      headers.set(name, value)
    })
    return headers
  })
}

async function ask(
  url: URL,
  init: RequestInit,
  { credentials }: Settings,
  headers: Headers,
  token: Token | undefined,
  environment: Environment,
): Promise<Response> {
  if (token) safely(() => headers.set('authorization', `Bearer ${token.token}`))
  try {
    return await environment.fetch(url, { credentials, ...init, headers })
  } catch (cause) {
    if (init.signal?.aborted) throw aborted(init.signal)
    throw new TidingsError('network', `the hub was not reached: ${reasonOf(cause)}`, { cause })
  }
}

/** The address, which is of the hub's origin: the credential goes nowhere else. */
function addressOf(path: string, base: string): URL {
  const url = URL.canParse(path, base) ? new URL(path, base) : undefined
  if (url?.origin === new URL(base).origin) return url
  throw new TidingsError('refused', `${path} is not on the hub, and is not given its credential`)
}
