import { type Client, TidingsError } from '@tidings/client'

/** Tells of something that an app's function threw, in the way the client tells of handlers. */
export function report(client: Pick<Client, 'options'>, message: string, cause: unknown): void {
  const error = new TidingsError('handler', message, { cause })
  if (client.options.onError === undefined) console.error(error)
  else client.options.onError(error)
}
