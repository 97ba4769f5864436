// The interface of an op: its inputs from verify, and its result.
import type { Engine } from '../../../engine/index.js';
import type { CallOptions, Dtype, ScheduleConfig, Tensor } from '../../../engine/types.js';
import type { ModelFolder } from '../../../models/index.js';
import type { Comparison } from '../compare.js';

export interface OpContext {
  dtype: Dtype;
  call: CallOptions;
  params: Record<string, unknown>;
  /** a param of this case, or else of the first case of its manifest that has it */
  shared: (name: string) => unknown;
  input: (name: string) => Tensor;
  /** names of the outputs the manifest has */
  outputs: string[];
  /** the reference of an output, where judging needs more than its numbers one by one */
  reference: (name: string) => Tensor;
  /** an engine, with the case's model loaded if it has one */
  engine: () => Promise<Engine>;
  model: () => Promise<ModelFolder>;
  schedule: () => Promise<ScheduleConfig>;
  /** by the case's tolerance, or by relative L2 error in reduced precision */
  compare: (got: Tensor, reference: Tensor) => Comparison;
}

export interface OpResult {
  /** computed outputs by name; each output of the manifest must be here or in `judged` */
  outputs?: Record<string, Tensor>;
  /** outputs judged by a rule of their own, and checks beyond the manifest's outputs */
  judged?: Record<string, Comparison>;
  /** why this case is not checked */
  notChecked?: string;
}

export interface Op {
  run(context: OpContext): Promise<OpResult>;
  /** computed by the UNet in the precision asked for, and then judged by relative L2 error where that is not fp32 */
  reducible?: boolean;
  /** puts several passes together, whose errors add up: COMPOUND times the bound of one */
  compound?: boolean;
}
