// Features that an earlier mining of the run took: they need not be computed again.
import { existsSync } from 'node:fs';
import { float32, readSafetensors } from '../../engine/index.js';
import type { MineRecord } from '../../runs/mining.js';
import type { Run } from '../../runs/run.js';
import type { MinedPatchRow, PatchRow } from '../../runs/schema.js';
import { readTable } from '../../runs/tables.js';

/** The feature vector of a patch; undefined where it is not known. */
export type KnownFeatures = (patch: PatchRow) => Float32Array | undefined;

const keyOf = ({ condition, label, image, row, column, patch }: PatchRow | MinedPatchRow): string =>
  JSON.stringify([condition, label, image, row, column, patch]);

/** @param before what is in RUN/mine; with other options of the features nothing of it is known */
export async function knownFeatures(
  run: Run,
  before: MineRecord | undefined,
  wanted: MineRecord['options'],
): Promise<KnownFeatures> {
  const same = (['diftT', 'upBlock', 'ensemble', 'device', 'batch'] as const).every(
    (option) => before?.options[option] === wanted[option],
  );
  const file = run.mineFile('features.safetensors');
  if (!before || !same || before.fingerprint !== run.manifest.fingerprint || !existsSync(file)) return () => undefined;
  const tensors = readSafetensors(file);
  const known = new Map<string, Float32Array>();
  for (const patch of await readTable<MinedPatchRow>(run.mineFile('patches.parquet'))) {
    const tensor = tensors[`features.${patch.condition}`];
    if (patch.list !== before.options.rank || !tensor) continue;
    const width = tensor.shape[1] ?? 0;
    known.set(keyOf(patch), float32(tensor).subarray((patch.rank - 1) * width, patch.rank * width));
  }
  return (patch) => known.get(keyOf(patch));
}
