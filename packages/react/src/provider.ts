import type { Client, ClientOptions } from '@tidings/client'
import { createElement, type ReactElement, type ReactNode } from 'react'
import { LiveContext } from './context.js'
import { useMaybeClient } from './use-client.js'

export type LiveProviderProps<Events extends object> = {
  readonly children?: ReactNode
} & (
  | {
      /** A client that somebody else made, and closes. */
      readonly client: Client<Events>
      readonly options?: undefined
    }
  | {
      /** Makes a client, and closes it when the provider goes. It connects when a component first listens. */
      readonly options: ClientOptions
      readonly client?: undefined
    }
)

/** Gives everything below it one client. On a server it renders its children and connects to nothing. */
export function LiveProvider<Events extends object>(props: LiveProviderProps<Events>): ReactElement {
  const own = useMaybeClient(props.client === undefined ? props.options : undefined)
  const client = (props.client as Client | undefined) ?? own
  return createElement(LiveContext.Provider, { value: client }, props.children)
}
