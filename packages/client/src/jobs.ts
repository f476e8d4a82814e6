/**
 * Jobs: long work that somebody else does, and whoever asked for it watches (protocol §10).
 *
 * `createJob` makes one, `watchJob` follows it to its end, `cancelJob` asks its worker to stop.
 */

export type { JobClient, JobRequestOptions } from './jobs/ask.js'
export { type CreateJobOptions, createJob, type NewJob } from './jobs/create.js'
export type { WatchClient } from './jobs/feed.js'
export { type CreatedJob, hasEnded, type Job, type JobProgress, type JobState } from './jobs/job.js'
export {
  type CancelJobOptions,
  cancelJob,
  getJob,
  type JobPage,
  type JobResultOptions,
  jobResult,
  type ListJobsOptions,
  listJobs,
} from './jobs/look.js'
export { type JobWatch, type WatchJobOptions, watchJob } from './jobs/watch.js'
