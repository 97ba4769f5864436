// translate: each image under every other label, shard by shard, into a folder that can be resumed.
import { basename } from 'node:path';
import { runPipeline } from '../../pipeline/pipeline.js';
import { planOf, type Plan } from '../../pipeline/plan.js';
import { given } from '../../options/check.js';
import { TRANSLATE, type TranslateEvent, type TranslateOptions, type TranslateSummary } from './options.js';
import { writeTranslationPage } from './page.js';
import { readQuality } from './quality.js';
import { open, plan } from './stage.js';
import type { Hooks } from '../../util/hooks.js';

/** What `translate` would do. @throws as `translate` before work begins */
export async function planTranslation(asked: TranslateOptions, hooks: Hooks<TranslateEvent> = {}): Promise<Plan> {
  const options = given(TRANSLATE, asked);
  return planOf(
    await plan(options, hooks),
    options,
    ['manifest.json', 'shards/', 'a folder per label', 'index.html'],
    hooks,
  );
}

/**
 * Translates the images of a dataset and writes a parallel dataset (parallel.ts) with a page. Resumes an earlier call with the same options, model and
 * data, even if it was killed. Several calls can work on one folder at once, each on its own shards.
 *
 * @throws RUN_MISMATCH if the folder holds another translation; before work begins, INVALID_ARGUMENT, DATASET_INVALID, MODEL_*, WEIGHTS_INVALID,
 * DEVICE_UNAVAILABLE; CANCELLED after hooks.signal (finished shards are kept); NUMERICS naming the image
 */
export async function translate(
  options: TranslateOptions,
  hooks: Hooks<TranslateEvent> = {},
): Promise<TranslateSummary> {
  const begun = performance.now();
  const { stage, complete, resumed, shards, unetCalls, device } = await runPipeline(
    open,
    given(TRANSLATE, options),
    hooks,
  );
  const { folder } = stage;
  const { manifest } = folder;
  const { translated, skipped } = await folder.readShards(await folder.doneShards());
  const file = await writeTranslationPage(
    folder,
    translated,
    skipped,
    await readQuality(folder.path, translated.length),
  );
  await folder.store.keep(basename(file));
  const page = file.replace(folder.path, folder.place);
  await folder.store.close();
  const known = translated.flatMap(({ psnr }) => psnr ?? []);
  return {
    path: folder.place,
    page,
    complete,
    resumed,
    labels: manifest.labels,
    images: manifest.index.rows,
    translated: translated.length,
    skipped: skipped.length,
    translations: translated.reduce((sum, { targets }) => sum + targets.length, 0),
    psnr: known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null,
    shards,
    unetCalls,
    seconds: (performance.now() - begun) / 1000,
    device,
    dtype: manifest.options.dtype,
    batch: manifest.options.batch,
  };
}
