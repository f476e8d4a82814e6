import { TidingsError } from '../errors.js'

/** The same error where nobody goes on by itself. */
export function forGood(error: TidingsError): TidingsError {
  const { code, message, status, problem, cause } = error
  const details = { cause, ...(status !== undefined && { status }), ...(problem && { problem }) }
  return error.retrying ? new TidingsError(code, message, details) : error
}
