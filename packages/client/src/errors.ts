/** What went wrong, for programs. */
export type ErrorCode =
  /** The network, or the server is not there. Heals by itself. */
  | 'network'
  /** The hub refused with a status that says: later (408, 425, 429, 5xx). Heals by itself. */
  | 'unavailable'
  /** 401, or the hub ended the connection because the credential ran out. Heals if the token provider gives another. */
  | 'unauthorized'
  /** 403, or revoked. For good. */
  | 'forbidden'
  /** Another refusal, or an end for good. */
  | 'refused'
  /** The answer is not what was asked for: a page of a proxy, a login form. */
  | 'content-type'
  /** Bytes that break the protocol. */
  | 'protocol'
  /** A proxy buffers or cuts streams; the message says what to set. A worse transport takes over. */
  | 'proxy'
  /** Nothing came for longer than it may be silent. Heals by itself. */
  | 'silence'
  /** The token provider failed. */
  | 'token'
  /** A listener threw; it is the `cause`. */
  | 'handler'
  /** Connections can't be shared here (no SharedWorker, no locks, storage disabled, blocked by a policy). A fallback is used. */
  | 'sharing'
  /** An AbortSignal, or the client was closed. */
  | 'aborted'

/** An RFC 9457 problem document, as a hub refuses. */
export interface Problem {
  readonly type?: string
  readonly title?: string
  readonly status?: number
  readonly detail?: string
  readonly [member: string]: unknown
}

/** Any failure of the client. */
export class TidingsError extends Error {
  override readonly name = 'TidingsError'
  readonly code: ErrorCode
  /** The HTTP status, or the close code of protocol §5. */
  readonly status: number | undefined
  /** What the hub said. */
  readonly problem: Problem | undefined
  /** Whether the client goes on by itself. */
  readonly retrying: boolean

  constructor(
    code: ErrorCode,
    message: string,
    details: { status?: number; problem?: Problem; retrying?: boolean; cause?: unknown } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.status = details.status
    this.problem = details.problem
    this.retrying = details.retrying ?? false
  }
}
