// Features of patches that minings of the run have computed, so that none is computed again. A mining keeps those of its clustered list in
// features.safetensors; of all others the latest are in earlier.safetensors and earlier.parquet, whatever patches they were and with whatever settings.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { float32, fromFloat32, readSafetensors, writeSafetensors } from '../../engine/index.js';
import type { Tensor } from '../../engine/types.js';
import type { MineRecord } from '../../runs/mining.js';
import type { Run } from '../../runs/run.js';
import { EARLIER_SCHEMA, type EarlierRow, type MinedPatchRow, type PatchRow } from '../../runs/columns.js';
import { readTable, writeTable } from '../../runs/tables.js';

/** Bytes of features that are kept beside those of the clustered lists. */
const MOST_KEPT = 256 * 2 ** 20;
const TABLE = 'earlier.parquet';
const FEATURES = 'earlier.safetensors';

type Place = Pick<EarlierRow, 'condition' | 'label' | 'image' | 'row' | 'column' | 'patch'>;

const placeOf = ({ condition, label, image, row, column, patch }: PatchRow | MinedPatchRow | EarlierRow): Place => ({
  ...{ condition, label, image, row, column, patch },
});
/** The options that features follow from, beside the run's own. */
const settingsOf = ({ diftT, upBlock, ensemble, device, batch }: MineRecord['options']): string =>
  `t${diftT} block${upBlock} ensemble${ensemble} ${device} batch${batch}`;
const keyOf = (settings: string, place: Place): string => JSON.stringify([settings, ...Object.values(place)]);

interface Kept {
  row: EarlierRow;
  vector: Float32Array;
}

export class KnownFeatures {
  /** the latest first */
  private kept = new Map<string, Kept>();

  /** @param settings of the features that are wanted now */
  private constructor(private readonly settings: string) {}

  /** @param before what is in RUN/mine */
  static async read(run: Run, before: MineRecord | undefined, wanted: MineRecord['options']): Promise<KnownFeatures> {
    const known = new KnownFeatures(settingsOf(wanted));
    if (before?.fingerprint !== run.manifest.fingerprint) return known;
    const own = run.mineFile('features.safetensors');
    if (existsSync(own)) {
      const rows = rowsOf(readSafetensors(own));
      for (const patch of await readTable<MinedPatchRow>(run.mineFile('patches.parquet'))) {
        const rowAt = rows.get(`features.${patch.condition}`);
        if (patch.list !== before.options.rank || !rowAt) continue;
        known.keep({ settings: settingsOf(before.options), ...placeOf(patch) }, rowAt(patch.rank - 1));
      }
    }
    if (existsSync(run.mineFile(FEATURES))) {
      const rows = rowsOf(readSafetensors(run.mineFile(FEATURES)));
      const next = new Map<string, number>();
      for (const row of await readTable<EarlierRow>(run.mineFile(TABLE))) {
        const place = next.get(row.settings) ?? 0;
        next.set(row.settings, place + 1);
        const rowAt = rows.get(row.settings);
        if (rowAt) known.keep(row, rowAt(place));
      }
    }
    return known;
  }

  private keep(row: EarlierRow, vector: Float32Array): void {
    this.kept.set(keyOf(row.settings, placeOf(row)), { row, vector });
  }

  /** The feature vector of a patch; undefined where it is not known. */
  of(patch: PatchRow): Float32Array | undefined {
    return this.kept.get(keyOf(this.settings, placeOf(patch)))?.vector;
  }

  /** Patches whose features were computed now, with their vectors. */
  add(patches: readonly PatchRow[], vectorOf: (index: number) => Float32Array): void {
    const earlier = this.kept;
    this.kept = new Map();
    patches.forEach((patch, i) => this.keep({ settings: this.settings, ...placeOf(patch) }, vectorOf(i)));
    for (const [key, one] of earlier) if (!this.kept.has(key)) this.kept.set(key, one);
  }

  /**
   * Writes what the next minings may need, the latest first, into the folder of a mining.
   *
   * @param own patches whose features the folder has already
   */
  async write(folder: string, own: Iterable<PatchRow>): Promise<void> {
    const left = new Map(this.kept);
    for (const patch of own) left.delete(keyOf(this.settings, placeOf(patch)));
    const bySettings = new Map<string, Kept[]>();
    let bytes = 0;
    for (const one of left.values()) {
      bytes += one.vector.byteLength;
      if (bytes > MOST_KEPT) break;
      const members = bySettings.get(one.row.settings);
      if (members) members.push(one);
      else bySettings.set(one.row.settings, [one]);
    }
    if (bySettings.size === 0) return;
    const groups = [...bySettings.values()];
    await writeTable(
      join(folder, TABLE),
      groups.flat().map(({ row }) => row),
      EARLIER_SCHEMA,
    );
    writeSafetensors(
      join(folder, FEATURES),
      Object.fromEntries([...bySettings].map(([settings, members]) => [settings, stacked(members)])),
    );
  }
}

/** The rows of each tensor [n, F]. */
function rowsOf(tensors: Readonly<Record<string, Tensor>>): Map<string, (row: number) => Float32Array> {
  return new Map(
    Object.entries(tensors).map(([name, tensor]) => {
      const [values, width] = [float32(tensor), tensor.shape[1] ?? 0];
      return [name, (row) => values.subarray(row * width, (row + 1) * width)];
    }),
  );
}

/** F32 [members, F] */
function stacked(members: readonly Kept[]): Tensor {
  const width = members[0]?.vector.length ?? 0;
  const values = new Float32Array(members.length * width);
  members.forEach(({ vector }, i) => values.set(vector, i * width));
  return fromFloat32([members.length, width], values);
}
