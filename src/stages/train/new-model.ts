// A model that is trained from scratch: a UNet of a named size, with the VAE and the text encoder of other models.
import { createHash } from 'node:crypto';
import path from 'node:path';
import { distinctLabels } from '../../data/labels.js';
import { fromInt64 } from '../../engine/tensor.js';
import type { UNetConfig } from '../../engine/types.js';
import type { HubHooks } from '../../models/hub/hub.js';
import { openModel, variantForEach, type ModelFolder, type OpenOptions } from '../../models/index.js';
import {
  copyPart,
  indexJson,
  removeOtherWeights,
  scheduleJson,
  unetJson,
  UNET_WEIGHTS,
  writeJson,
} from '../../models/write.js';
import { DiffmineError } from '../../util/errors.js';
import { placeholder, tellClashes, textConditions, type Base, type Named } from './base.js';
import { PIXEL_SCHEDULE, SIZES, unetOfSize } from './sizes.js';
import { makeFolder } from '../../util/paths.js';

export async function newModel(
  { new: name, vae: vaePath, textEncoder: textPath, variant, fold: wanted }: Named,
  hooks: HubHooks,
): Promise<Base> {
  if (name === null || !Object.hasOwn(SIZES, name))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `There is no size ${JSON.stringify(name)}.`,
      `Sizes: ${Object.keys(SIZES).join(', ')}.`,
    );
  const size = SIZES[name];
  const fold = wanted ?? size.fold;
  if (![1, 2].includes(fold) || (fold === 2 && size.kind === 'latent'))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`fold\` ${fold} does not fit the size ${name}.`,
      'Pixel sizes can use `fold` 1 or 2, latent sizes only 1.',
    );
  const variants = new Map<string | null, OpenOptions>();
  const models = [vaePath, textPath].filter((location) => location !== null);
  (await variantForEach(models, variant, hooks)).forEach((options, i) => variants.set(models[i] as string, options));
  const vaeModel = vaePath === null ? undefined : await openModel(vaePath, variants.get(vaePath), hooks);
  const textModel = textPath === null ? undefined : await openModel(textPath, variants.get(textPath), hooks);
  const vae = vaeModel?.source.vae;
  const textEncoders = textModel?.source.textEncoders;
  const textEncoder = textEncoders?.[0];
  if (vaeModel && !vae)
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model '${vaePath}' has no VAE.`,
      'Give a latent model, such as Stable Diffusion.',
    );
  if (textModel && !textEncoder)
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model '${textPath}' has no text encoder.`,
      'Give a text-conditional model, such as Stable Diffusion.',
    );
  if (textEncoders && textEncoders.length > 1)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The model '${textPath}' has ${textEncoders.length} text encoders; a new model takes one.`,
      'Give Stable Diffusion 1.x or 2.x for `textEncoder`.',
    );
  const shape = (labels: readonly string[]): UNetConfig =>
    unetOfSize(name, {
      ...(textEncoder ? { textWidth: textEncoder.config.hiddenSize } : { classes: labels.length + 1 }),
      ...(vae && { latentChannels: vae.config.latentChannels }),
      fold,
    });
  shape(['']); // refuses what does not fit together before anything is done
  const schedule = vaeModel?.source.schedule ?? PIXEL_SCHEDULE;
  const vaeFactor = vaeModel?.vaeFactor ?? 1;
  const multiple = vaeFactor * fold * 2 ** (size.channels.length - 1);
  return {
    architecture: 'unet',
    flow: false,
    kind: size.kind,
    conditioning: textModel ? 'text' : 'class',
    side: size.side,
    multiple,
    vaeFactor,
    fold,
    spacing: vaeModel?.timestepSpacing ?? 'leading',
    start: (labels, seed) => ({ unet: { config: shape(labels), files: [], initial: seed }, schedule }),
    encoder:
      vae || textEncoder
        ? {
            unet: placeholder(vae?.config.latentChannels ?? 3),
            ...(vae && { vae }),
            ...(textEncoders && { textEncoders }),
            schedule,
          }
        : undefined,
    encoderFingerprint: createHash('sha256')
      .update(`${vaeModel?.fingerprint ?? ''} ${textModel?.fingerprint ?? ''}`)
      .digest('hex'),
    conditions: textModel
      ? textConditions(textModel)
      : async (_, labels) => fromInt64([labels.length + 1], [...labels.keys(), labels.length]),
    checkLabels: (labels, settings, onLog) =>
      tellClashes(textModel ?? { path: '', labels: distinctLabels(labels) }, labels, settings, onLog),
    async write(folder, { labels, side }, weights) {
      const unet = path.join(folder, 'unet');
      await removeOtherWeights(unet, UNET_WEIGHTS);
      await writeJson(path.join(unet, 'config.json'), unetJson(shape(labels), side / (vaeFactor * fold)));
      if (vaeModel) await copyPart(vaeModel.path, folder, 'vae', vae?.files);
      for (const part of textModel ? ['text_encoder', 'tokenizer'] : [])
        await copyPart(
          (textModel as ModelFolder).path,
          folder,
          part,
          part === 'text_encoder' ? textEncoder?.files : undefined,
        );
      if (vaeModel) await copyPart(vaeModel.path, folder, 'scheduler');
      else {
        await makeFolder(path.join(folder, 'scheduler'));
        await writeJson(path.join(folder, 'scheduler', 'scheduler_config.json'), scheduleJson(schedule));
      }
      await weights(path.join(unet, UNET_WEIGHTS));
      await writeJson(
        path.join(folder, 'model_index.json'),
        indexJson({ vae: vae !== undefined, text: textModel !== undefined }, textModel ? undefined : labels),
      );
    },
  };
}
