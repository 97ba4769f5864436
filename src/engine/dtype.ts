// Which dtype `auto` means on a device: the fastest one that a study in docs/results shows to be good enough for the work.
import type { DeviceInfo, Dtype } from './types.js';

export const DTYPES = ['fp32', 'bf16', 'fp16'] as const satisfies readonly Dtype[];
export type DtypeOption = Dtype | 'auto';

/**
 * What the results are used for. A ranking may lose at most a tenth of what another seed costs it; docs/results/reduced-precision.md shows that for bf16
 * on a CPU. No study covers reduced precision in training, nor images that are sampled or translated.
 */
export type Purpose = 'ranking' | 'training' | 'images';

export interface ChosenDtype {
  dtype: Dtype;
  /** a sentence without a full stop */
  reason: string;
}

/** Depends on nothing but what the device reports. */
export function autoDtype(
  { id, nativeDtypes }: Pick<DeviceInfo, 'id' | 'nativeDtypes'>,
  purpose: Purpose = 'ranking',
): ChosenDtype {
  if (purpose !== 'ranking') return { dtype: 'fp32', reason: `no study covers reduced precision for ${purpose}` };
  if (id !== 'cpu') return { dtype: 'fp32', reason: 'the ranking in fp16 on a GPU is not yet measured' };
  return nativeDtypes.includes('bf16')
    ? { dtype: 'bf16', reason: 'this CPU multiplies in bf16' }
    : { dtype: 'fp32', reason: 'this CPU does not multiply in bf16' };
}
