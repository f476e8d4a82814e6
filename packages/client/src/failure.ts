import { type ErrorCode, TidingsError } from './errors.js'

type Details = ConstructorParameters<typeof TidingsError>[2]

/** An error that heals, or may. */
export function failure(code: ErrorCode, message: string, details?: Details): TidingsError {
  return new TidingsError(code, message, { ...details, retrying: true })
}

/** The error of whoever was stopped. */
export function aborted(signal?: AbortSignal): TidingsError {
  return new TidingsError('aborted', 'aborted before it was done', { cause: signal?.reason })
}

/** What an unknown thing that was thrown says. */
export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
