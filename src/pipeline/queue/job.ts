// A shard of a run as a job.

/** The data of a job. */
export interface ShardJob {
  /** folder of the run */
  run: string;
  id: string;
  shard: number;
  round?: number;
  /** of diffmine, that began the run */
  version: string;
  /** why a worker could not take it: another one may */
  refused?: { by: string; why: string };
}
