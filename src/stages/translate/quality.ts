// Quality of a translation, judged by the model itself: error of the reconstruction, structure similarity, and whether the result looks like its target;
// with boxes, whether the typical elements are what changed.
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { imageFile } from '../../data/index.js';
import { placeMarks, readMarks, type Marked } from '../../data/boxes/index.js';
import { DiffmineError } from '../../util/errors.js';
import {
  checkNullCondition,
  openModel,
  nullCondition,
  prepareConditions,
  recordedModel,
  modelOptions,
} from '../../models/index.js';
import { scoredRange } from '../../models/training.js';
import { Engine } from '../../engine/index.js';
import { chooseDevice } from '../../runs/device.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { resolved } from '../../options/check.js';
import { timesteps } from '../../pipeline/resolve.js';
import { TranslationFolder } from './folder.js';
import { MEASUREMENT, type Quality, type QualityOptions } from './options.js';

export type { QualityOptions } from './options.js';
import { Judge, judgeCalls } from './judge.js';
import { writeTranslationPage } from './page.js';
import { PAGE, type TranslatedLine } from '../../runs/parallel.js';
import { withLocalRun } from '../../runs/store/copy.js';
import { conditionOf } from './resolve.js';
import { Tally } from './tally.js';
import type { Hooks, Progress } from '../../util/hooks.js';
import { count, whole } from '../../web/html.js';

export const QUALITY = 'quality.json';

/**
 * Measures a translation, writes OUT/quality.json and the page again.
 *
 * Structure: of source and translation the features of DIFT under the null condition, averaged over a grid of at most 16 x 16; their cosine similarities,
 * each cell with each; the correlation of the two tables. Label: L(source's label) - L(target) on the same noises, over the image and by place.
 *
 * @throws RUN_INVALID for a folder without a translation or a finished shard; MODEL_*; RUN_MISMATCH for another model; DATASET_INVALID; CANCELLED
 */
export async function evaluateTranslation(options: QualityOptions, hooks: Hooks<Progress> = {}): Promise<Quality> {
  const kept = { makes: [PAGE, QUALITY], lock: 'quality' };
  return withLocalRun(options.parallel, hooks, kept, async (parallel, local) =>
    evaluateFolder({ ...options, parallel }, local),
  );
}

async function evaluateFolder({ parallel: out, ...given }: QualityOptions, hooks: Hooks<Progress>): Promise<Quality> {
  const options = resolved(MEASUREMENT, given);
  const { samples, threads = 0 } = options;
  const folder = await TranslationFolder.open(out);
  const { manifest } = folder;
  const { translated: lines, skipped } = await folder.readShards(await folder.doneShards());
  if (lines.length === 0)
    throw new DiffmineError('RUN_INVALID', `${out} has no translated image yet.`, 'Run translate again to resume it.');
  const model = await openModel(
    options.model ?? (await recordedModel(manifest.model)),
    modelOptions({ ...manifest.model, ...options }),
    hooks,
  );
  if (model.fingerprint !== manifest.model.fingerprint)
    throw new DiffmineError(
      'RUN_MISMATCH',
      `${model.path} is not the model that translated ${out}.`,
      'Give that model with `model`.',
    );
  await checkNullCondition(model, { named: true, what: 'Structure is compared under it' }, hooks.onLog);
  const range = timesteps(await scoredRange(options.tRange, model, hooks.onLog), model.source.schedule.trainTimesteps);
  const marks =
    options.boxes === undefined ? undefined : await marksOf(options.boxes, lines, manifest.dataset.path, hooks);

  const device = chooseDevice(options.device, manifest.options.dtype);
  const engine = new Engine({
    device: device.id,
    dtype: manifest.options.dtype,
    threads,
  });
  const call = { signal: hooks.signal };
  const translations = lines.reduce((sum, { targets }) => sum + targets.length, 0);
  hooks.onLog?.(
    `Judging ${count(lines.length, 'image')} and ${count(translations, 'translation')}: ${whole(judgeCalls(lines, samples))} UNet calls on ${device.id}.`,
  );
  try {
    await engine.loadModel(model.source, call);
    const labels = [...new Set([...lines.map(({ label }) => label), ...manifest.labels])];
    const { prompt, nullPrompt, batch } = manifest.options;
    const conditions = await prepareConditions(
      engine,
      model,
      [...labels.map((label) => conditionOf(prompt, label)), nullCondition(nullPrompt)],
      call,
    );
    const judge = new Judge(
      folder,
      model,
      engine,
      conditions,
      new Map(labels.map((label, row) => [label, row])),
      labels.length,
      { samples, batch, ...range },
    );
    const tally = new Tally();
    let before: Float32Array | undefined;
    for (const [i, line] of lines.entries()) {
      if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The evaluation was cancelled.');
      const judged = await judge.judge(line, call);
      await tally.add(line, judged, marks && (marks.get(line.image) ?? []), before);
      before = judged.structure;
      hooks.onProgress?.({ type: 'translation', done: i + 1, total: lines.length });
    }
    const quality = tally.sum(lines, judge.options.samples, marks !== undefined);
    await writeFileAtomic(join(folder.path, QUALITY), `${JSON.stringify(quality, null, 2)}\n`);
    await writeTranslationPage(folder, lines, skipped, quality);
    return quality;
  } finally {
    await engine.dispose();
  }
}

/** What is known to be in the translated images, by image. @param dataset the folder of the images, or the table beside them */
async function marksOf(
  boxes: string,
  lines: readonly TranslatedLine[],
  dataset: string,
  hooks: Hooks<Progress>,
): Promise<Map<string, Marked[]>> {
  const table = await readMarks(boxes);
  const root = await stat(dataset).then(
    (status) => (status.isFile() ? dirname(dataset) : dataset),
    () => dataset,
  );
  const found = table.assign(new Set(lines.map(({ image }) => image)), boxes, root);
  if (found.size === 0) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `No box of ${boxes} belongs to a translated image.`,
      `It names ${JSON.stringify([...table.keys()][0] ?? '')}; the translated images have names such as ${JSON.stringify(lines[0]?.image)}.`,
    );
  }
  const byImage = new Map(lines.map((line) => [line.image, line]));
  const marked = [...found].map(([image, marks]) => ({
    image,
    marks,
    file: imageFile(root, image),
    scored: byImage.get(image) as TranslatedLine,
  }));
  const { images, notes } = await placeMarks(boxes, marked, { signal: hooks.signal });
  for (const note of [...table.notes, ...notes]) hooks.onLog?.(note);
  return images;
}

/** quality.json, if it is there and of these images. */
export async function readQuality(path: string, images: number): Promise<Quality | undefined> {
  try {
    const quality = JSON.parse(await readFile(join(path, QUALITY), 'utf8')) as Quality;
    return quality.images === images ? quality : undefined;
  } catch {
    return undefined;
  }
}
