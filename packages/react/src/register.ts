/**
 * The events of your app, for all hooks:
 *
 * ```ts
 * declare module '@tidings/react' {
 *   interface Register { events: Events }
 * }
 * ```
 */
// biome-ignore lint/suspicious/noEmptyInterface: apps put their events in it
export interface Register {}

/** The events that were registered; any names with unknown data if none were. */
export type RegisteredEvents = Register extends { events: infer Events extends object }
  ? Events
  : Record<string, unknown>
