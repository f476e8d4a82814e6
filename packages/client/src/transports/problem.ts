/** What a refusal says, and other answers that are read whole. */

import type { Problem } from '../errors.js'
import type { Ending } from '../source.js'
import { LONGEST } from '../timers.js'
import { drop, isObject, mediaType } from './http.js'

/** The most of a problem document that is read, in UTF-16 code units: it is a sentence or two. */
const PROBLEM_LIMIT = 64 << 10

/** A refusal, with what it says; `known` is told what is known before that has come. Never rejects. */
export async function refusal(response: Response, now: number, known?: (ending: Ending) => void): Promise<Ending> {
  const { status, headers } = response
  const ending = { kind: 'refused', status, problem: undefined, retryAfter: retryAfter(headers, now) } as const
  known?.(ending)
  return { ...ending, problem: await problemOf(response) }
}

/** `Retry-After` in ms: seconds or a date (RFC 9110 §10.2.3). */
export function retryAfter(headers: Headers, now: number): number | undefined {
  const value = headers.get('retry-after')
  if (!value) return undefined
  const ms = Number(value) * 1000 || Date.parse(value) - now
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), LONGEST)
}

/** The problem document of an answer (RFC 9457), if it has one that is none too large. Never rejects. */
export async function problemOf(response: Response): Promise<Problem | undefined> {
  try {
    // Profiles refuse with their app's own body, which may be plain JSON; a page of a proxy is not read.
    const isJson = mediaType(response.headers).endsWith('json')
    const problem: unknown = JSON.parse((await textOf(response, isJson ? PROBLEM_LIMIT : 0)) ?? '')
    return isObject(problem) ? problem : undefined
  } catch {
    return undefined
  }
}

/** The body as text; `undefined` where it is longer than `limit` UTF-16 code units, and then the rest of it is not fetched. */
export async function textOf(response: Response, limit: number): Promise<string | undefined> {
  const reader = response.body?.getReader()
  const decoder = new TextDecoder()
  let text = ''
  try {
    while (text.length <= limit) {
      const chunk = await reader?.read()
      if (!chunk || chunk.done) return text
      text += decoder.decode(chunk.value, { stream: true })
    }
    return undefined
  } finally {
    drop(reader)
  }
}
