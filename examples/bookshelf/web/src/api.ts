/** One way to ask the app. */

export class ApiError extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

async function send(method: string, path: string, body?: unknown): Promise<Response> {
  const response = await fetch(`/api/v1/${path}`, {
    method,
    ...(body === undefined
      ? {}
      : body instanceof FormData
        ? { body }
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
  if (!response.ok) throw new ApiError(response.status, await sentence(response))
  return response
}

async function ask<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await send(method, path, body)
  return response.status === 204 ? (undefined as Answer) : response.json()
}

/** What the app says went wrong: the `detail` of a problem document (RFC 9457). */
async function sentence(response: Response): Promise<string> {
  try {
    const problem: { detail?: string; title?: string } = await response.json()
    return problem.detail ?? problem.title ?? response.statusText
  } catch {
    return `${response.status} ${response.statusText}`
  }
}

export const api = {
  /** The answer, and the place in the log that it is from: whoever hears all that comes after it misses nothing. */
  placed: async <Answer>(path: string) => {
    const response = await send('GET', path)
    const answer: Answer = await response.json()
    return { answer, cursor: response.headers.get('tidings-cursor') ?? undefined }
  },
  get: <Answer>(path: string) => ask<Answer>('GET', path),
  post: <Answer>(path: string, body?: unknown) => ask<Answer>('POST', path, body),
  patch: <Answer>(path: string, body: unknown) => ask<Answer>('PATCH', path, body),
  delete: (path: string) => ask<void>('DELETE', path),
}
