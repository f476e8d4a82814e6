import type { Problem } from '@tidings/client'
import { parseExact } from './json-text.js'

/** The hub said no, or could not be asked (`status` 0). */
export class ApiError extends Error {
  readonly status: number
  readonly problem: Problem | undefined

  constructor(status: number, message: string, problem?: Problem) {
    super(message)
    this.status = status
    this.problem = problem
  }
}

interface Asked extends RequestInit {
  /** Numbers that the page would round are kept as they are written: for data that is shown, and published again. */
  readonly exact?: boolean
}

/** One request to the hub; the answer's JSON, or an {@link ApiError}. */
export type Ask = <T>(path: string, init?: Asked) => Promise<T>

/** Makes requests with this key, or with none. `refused` hears of each 401, and what the hub said. */
export function asker(base: URL, key: string | undefined, refused: (why: string) => void): Ask {
  return async <T>(path: string, { exact = false, ...init }: Asked = {}) => {
    const headers = new Headers(init.headers)
    if (key) headers.set('authorization', `Bearer ${key}`)
    const response = await send(new URL(path, base), { ...init, headers })
    const text = await response.text().catch(() => '')
    if (!response.ok) {
      const error = failure(response, text)
      if (response.status === 401) refused(error.message)
      throw error
    }
    return (text === '' ? undefined : parse(text, response, exact)) as T
  }
}

/** A path with a query; parameters that are empty are left out. */
export function withQuery(path: string, query: Readonly<Record<string, string | number | undefined>>): string {
  const said = Object.entries(query).filter(([, value]) => value !== undefined && value !== '')
  const search = new URLSearchParams(said.map(([name, value]) => [name, String(value)])).toString()
  return search ? `${path}?${search}` : path
}

async function send(url: URL, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init)
  } catch (error) {
    if (init.signal?.aborted) throw error
    throw new ApiError(0, 'The hub does not answer.')
  }
}

function parse(text: string, response: Response, exact: boolean): unknown {
  try {
    return exact ? parseExact(text) : JSON.parse(text)
  } catch {
    const type = response.headers.get('content-type') ?? 'nothing'
    throw new ApiError(
      response.status,
      `The answer is ${type} and not JSON: is something between this page and the hub?`,
    )
  }
}

function failure(response: Response, text: string): ApiError {
  let problem: Problem | undefined
  try {
    problem = JSON.parse(text) as Problem
  } catch {
    // No problem document: a proxy's own page, perhaps.
  }
  return new ApiError(response.status, problem?.detail ?? `${response.status} ${response.statusText}`.trim(), problem)
}
