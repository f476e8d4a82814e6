import { Component, type ComponentChildren } from 'preact'
import { ApiError } from '../api.js'
import { Failed } from './states.js'

interface Props {
  readonly children: ComponentChildren
}

/** What fails to be drawn says so in its place, and leaves the rest of the page as it is. */
export class Boundary extends Component<Props, { error: Error | undefined }> {
  override state = { error: undefined }

  static override getDerivedStateFromError(error: unknown): { error: Error } {
    return { error: error instanceof Error ? error : new Error(String(error)) }
  }

  override render({ children }: Props): ComponentChildren {
    const error: Error | undefined = this.state.error
    if (error === undefined) return children
    const message = `This view can't be drawn: ${(error as Error).message}`
    return <Failed error={new ApiError(0, message)} retry={() => this.setState({ error: undefined })} />
  }
}
