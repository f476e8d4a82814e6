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

/** Writes headers. What a browser throws about them quotes their values, which may be secrets: it goes no further. */
export function safely<T>(write: () => T): T {
  try {
    return write()
  } catch {
    throw new TidingsError('refused', 'a header is not valid')
  }
}

/** What an unknown thing that was thrown says. */
export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
