import type { Problem } from '@tidings/client'

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

/** One request to the hub; the answer's JSON, or an {@link ApiError}. */
export type Ask = <T>(path: string, init?: RequestInit) => Promise<T>

/** Makes requests with this key, or with none. `refused` hears of each 401. */
export function asker(base: URL, key: string | undefined, refused: () => void): Ask {
  return async <T>(path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers)
    if (key) headers.set('authorization', `Bearer ${key}`)
    const response = await send(new URL(path, base), { ...init, headers })
    const text = await response.text().catch(() => '')
    if (response.status === 401) refused()
    if (!response.ok) throw failure(response, text)
    return (text === '' ? undefined : parse(text, response)) as T
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

function parse(text: string, response: Response): unknown {
  try {
    return JSON.parse(text)
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
