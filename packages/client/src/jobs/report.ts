import { type ErrorCode, TidingsError } from '../errors.js'
import type { JobClient } from './ask.js'

/** Tells of an error as the client does. */
export function report({ options: { onError } }: JobClient, error: TidingsError): void {
  try {
    if (onError) onError(error)
    else console[error.retrying ? 'warn' : 'error'](error)
  } catch (cause) {
    // Those who are told after him are told.
    console.error(cause)
  }
}

const HEALING: readonly ErrorCode[] = ['network', 'unavailable', 'silence', 'token']

/** Whether to ask again is of use. */
export function heals(error: unknown): error is TidingsError {
  return error instanceof TidingsError && (error.retrying || HEALING.includes(error.code))
}

/** The same error, of somebody who goes on. */
export function healing(error: TidingsError): TidingsError {
  const { code, message, status, problem, cause } = error
  const details = { cause, ...(status !== undefined && { status }), ...(problem && { problem }) }
  return error.retrying ? error : new TidingsError(code, message, { ...details, retrying: true })
}
