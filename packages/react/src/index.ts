/**
 * React hooks over `@tidings/client`. The bridge to TanStack Query is `@tidings/react/query`.
 */

export { createHooks, type Hooks } from './create-hooks.js'
export type { Job, JobProgress, JobState } from './jobs.js'
export { LiveProvider, type LiveProviderProps } from './provider.js'
export type { Register, RegisteredEvents } from './register.js'
export { useClient } from './use-client.js'
export { type ConnectionOptions, useConnection } from './use-connection.js'
export { type JobOptions, type JobStatus, useJob } from './use-job.js'
export { type LatestOptions, type UseLatest, useLatest } from './use-latest.js'
export { useLive } from './use-live.js'
export { type LiveEventsOptions, type UseLiveEvents, useLiveEvents } from './use-live-events.js'
export { type Upload, type UploadOptions, useUpload } from './use-upload.js'
