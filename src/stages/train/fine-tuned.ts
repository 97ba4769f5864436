// A model that is fine-tuned: its denoiser starts from its weights; everything else is copied.
import { cp, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { architectureOf, channelsOf } from '../../models/denoiser.js';
import { classIds, defaultSize, variantOf, type ModelFolder } from '../../models/index.js';
import { readJsonObject } from '../../models/json.js';
import { pinned } from '../../models/locate.js';
import { LORA_WEIGHTS } from '../../models/lora.js';
import { LORA, LORA_FORMAT } from '../../models/lora-folder.js';
import { copyPart, removeOtherWeights, UNET_WEIGHTS, writeJson } from '../../models/write.js';
import { placeholder, tellClashes, textConditions, type Base } from './base.js';
import type { TrainSettings } from './options.js';
import { makeFolder } from '../../util/paths.js';

export function fromModel(model: ModelFolder): Base {
  const { source, conditioning, kind, vaeFactor, fold, sizeMultiple } = model;
  const { vae, textEncoders, schedule } = source;
  const { unet, transformer } = source;
  return {
    architecture: architectureOf(source),
    flow: schedule.prediction === 'flow',
    kind,
    conditioning,
    side: model.sampleSize,
    vaeFactor,
    fold,
    spacing: model.timestepSpacing,
    // Every downsampling halves: sides that it divides lose nothing.
    multiple: Math.max(sizeMultiple, vaeFactor * fold),
    start: () => ({ ...(unet && { unet }), ...(transformer && { transformer }), schedule }),
    encoder:
      vae || textEncoders
        ? {
            unet: placeholder(channelsOf(source)),
            ...(vae && { vae }),
            ...(textEncoders && { textEncoders }),
            schedule,
          }
        : undefined,
    encoderFingerprint: model.fingerprint,
    conditions:
      conditioning === 'text' ? textConditions(model) : async (_, labels) => classIds(model, [...labels, null]),
    checkLabels: (labels, settings, onLog) => {
      if (conditioning === 'class') classIds(model, labels);
      if (settings.size === model.sampleSize) defaultSize(model, onLog);
      tellClashes(model, labels, settings, onLog);
    },
    async write(folder, { side }, weights) {
      await makeFolder(folder);
      for (const name of await readdir(model.path)) {
        const isFolder = (await stat(path.join(model.path, name))).isDirectory();
        if (name.startsWith('.') || name === 'unet' || !isFolder) continue;
        const weights = { vae, text_encoder: textEncoders?.[0], text_encoder_2: textEncoders?.[1] }[name]?.files;
        if (await looksLikePart(path.join(model.path, name))) await copyPart(model.path, folder, name, weights);
      }
      const unet = path.join(folder, 'unet');
      await removeOtherWeights(unet, UNET_WEIGHTS);
      const config = await readJsonObject(path.join(model.path, 'unet', 'config.json'));
      await writeJson(path.join(unet, 'config.json'), { ...config, sample_size: side / (vaeFactor * fold) });
      await weights(path.join(unet, UNET_WEIGHTS));
      await cp(path.join(model.path, 'model_index.json'), path.join(folder, 'model_index.json'));
    },
  };
}

/** A part of a pipeline says what it is in a file of its own. */
async function looksLikePart(folder: string): Promise<boolean> {
  const names = new Set(await readdir(folder));
  return [
    'config.json',
    'scheduler_config.json',
    'tokenizer_config.json',
    'preprocessor_config.json',
    'vocab.json',
  ].some((name) => names.has(name));
}

/** Writes the folder of a LoRA training: the updates as diffusers loads them, and which model they belong to (models/lora-folder.ts opens both as one). */
export async function writeLora(
  folder: string,
  settings: Pick<TrainSettings, 'from' | 'variant' | 't5'>,
  weights: (file: string) => Promise<void>,
): Promise<void> {
  await weights(path.join(folder, LORA_WEIGHTS));
  await writeJson(path.join(folder, LORA), {
    format: LORA_FORMAT,
    base: settings.from === null ? null : await pinned(settings.from, variantOf(settings)),
    ...variantOf(settings),
    scale: 1,
  });
}
