// Opens a model folder in diffusers' layout: its components, whether they fit together, and where their weights are. No weights are loaded.
import { DiffmineError } from '../util/errors.js';
import type { ModelSource, ScheduleConfig, TransformerConfig, UNetConfig, VaeConfig } from '../engine/types.js';
import { readClassNames, readLabels } from './class-names.js';
import {
  hasAttentionUpBlocks,
  hasCrossAttention,
  readSampleSize,
  readScheduleConfig,
  readUNetConfig,
  readVaeConfig,
} from './configs.js';
import { checkFit, checkTransformer, type LoadedPart, type TextParts } from './fit.js';
import { sampleSizeOf, strip, summarize, type ModelFolder } from './model.js';
import { Opening } from './opening.js';
import { variantOf, type OpenOptions } from './options.js';
import { T5_PARTS } from './parts.js';
import { openText } from './text.js';
import { FLOW_SCHEDULER, readFlowConfig, readTransformerConfig } from './transformers.js';

/** One of the two. `cells`: its sample size, in latent cells */
interface Denoiser {
  unet?: LoadedPart<UNetConfig>;
  transformer?: LoadedPart<TransformerConfig>;
  cells: number | undefined;
}

/** Opens and checks a folder in diffusers' layout. @throws as openModel */
export async function openFolder(location: string, options: OpenOptions): Promise<ModelFolder> {
  const opening = await Opening.begin(location, options.variant);
  const denoiser = await openDenoiser(opening);
  const { unet, transformer } = denoiser;
  const conditioning = conditioningOf(location, denoiser);
  const { vae, pixels } = await openVae(opening, denoiser);
  const text = conditioning === 'text' ? await openTextParts(opening, denoiser, options) : undefined;
  const classes = conditioning === 'class' ? readClasses(opening, denoiser) : undefined;
  checkAllUsed(opening, denoiser, text);
  const { timestepSpacing, ...schedule } = await openSchedule(opening);

  const [textEncoder, textEncoder2] = text?.encoders ?? [];
  const t5 = text?.t5?.encoder;
  const parts = { unet, transformer, vae, textEncoder, textEncoder2, ...(t5 && { t5 }) };
  if (options.variant !== undefined) checkVariant(location, options.variant, Object.values(parts));
  if (unet) checkFit(unet, vae, text);
  if (transformer) checkTransformer(transformer, vae, text);

  const source: ModelSource = {
    ...(unet && { unet: strip(unet) }),
    ...(transformer && { transformer: strip(transformer) }),
    ...(vae && { vae: strip(vae) }),
    ...(text && { textEncoders: text.encoders.map(strip) }),
    ...(t5 && { t5: strip(t5) }),
    schedule,
  };
  const vaeFactor = vae ? 2 ** (vae.config.blockOutChannels.length - 1) : 1;
  const fold = foldOf(denoiser);
  const perCell = vaeFactor * fold;
  const model = {
    path: opening.root,
    ...variantOf(options),
    kind: vae ? 'latent' : 'pixel',
    conditioning,
    source,
    ...classes,
    ...(text && { tokenizers: text.tokenizers }),
    ...(text?.t5 && { t5Tokenizer: text.t5.tokenizer }),
    // Of pipelines of SDXL, whose default is true.
    zeroNull: unet?.config.addedEmbedding !== undefined && opening.index.force_zeros_for_empty_prompt !== false,
    ...sampleSizeOf(denoiser.cells, pixels, perCell),
    vaeFactor,
    fold,
    sizeMultiple: sizeMultipleOf(source, perCell),
    timestepSpacing,
    fingerprint: await opening.fingerprint(parts),
  } as const;
  return { ...model, summary: () => summarize(model, parts) };
}

async function openDenoiser(opening: Opening): Promise<Denoiser> {
  if (await opening.has('transformer')) {
    const config = readTransformerConfig(...(await opening.config('transformer', 'config.json')));
    return { transformer: await opening.part('transformer', config), cells: config.sampleSize };
  }
  await opening.need('unet', 'every model needs it, or a transformer');
  const { sampleSize, ...config } = readUNetConfig(...(await opening.config('unet', 'config.json')));
  return { unet: await opening.part('unet', config), cells: sampleSize };
}

/** Pixels folded into channels, in each direction. */
const foldOf = ({ unet }: Denoiser): number => unet?.config.pixelFold ?? 1;

/** Its VAE, and the size in pixels that it was trained for; nothing for a model of pixels. */
async function openVae(
  opening: Opening,
  denoiser: Denoiser,
): Promise<{ vae?: LoadedPart<VaeConfig>; pixels?: number | undefined }> {
  const hasFolder = await opening.has('vae');
  if (!hasFolder && opening.lists('vae')) throw opening.absent('vae', 'its model_index.json lists one');
  if (!hasFolder) {
    const channels = (denoiser.unet ?? denoiser.transformer)?.config.inChannels ?? 0;
    if (channels !== 3 * foldOf(denoiser) ** 2)
      throw opening.absent('vae', `it denoises ${channels} channels, which are not RGB pixels`);
    return {};
  }
  const config = await opening.config('vae', 'config.json');
  return { vae: await opening.part('vae', readVaeConfig(...config)), pixels: readSampleSize(...config) };
}

async function openTextParts(
  opening: Opening,
  { unet, transformer }: Denoiser,
  options: OpenOptions,
): Promise<TextParts> {
  const t5 = transformer?.config.kind === 'sd3' && options.t5 !== false && opening.lists(T5_PARTS[0]);
  return openText(opening, { unet: unet?.config, transformer: transformer?.config, t5 });
}

function readClasses(
  { location, index }: Opening,
  { unet, transformer }: Denoiser,
): Pick<ModelFolder, 'labels' | 'classNames'> {
  if (transformer?.config.kind !== 'dit')
    return { labels: readLabels(location, index, unet?.config.numClassEmbeds ?? 0) };
  const { labels, names } = readClassNames(location, index.id2label, transformer.config.numClasses);
  return { labels, classNames: names };
}

/** @throws MODEL_UNSUPPORTED for a further text encoder that the denoiser would not use: it belongs to another model */
function checkAllUsed(opening: Opening, { transformer }: Denoiser, text: TextParts | undefined): void {
  if (opening.lists('text_encoder_2') && (text?.encoders.length ?? 0) < 2) throw opening.unsupported('text_encoder_2');
  if (opening.lists(T5_PARTS[0]) && transformer?.config.kind !== 'sd3') throw opening.unsupported(T5_PARTS[0]);
}

async function openSchedule(opening: Opening): Promise<ScheduleConfig & { timestepSpacing: string }> {
  await opening.need('scheduler', 'every model needs its noise schedule');
  const [file, json] = await opening.config('scheduler', 'scheduler_config.json');
  return json._class_name === FLOW_SCHEDULER ? readFlowConfig(file, json) : readScheduleConfig(file, json);
}

/** The VAE takes any size (it rounds down); folding, attention up blocks and patches of a transformer do not. */
function sizeMultipleOf({ unet, transformer }: ModelSource, perCell: number): number {
  if (transformer) return transformer.config.patchSize * perCell;
  if (!unet) return 1;
  const { blockOutChannels, pixelFold } = unet.config;
  return hasAttentionUpBlocks(unet.config) ? perCell * 2 ** (blockOutChannels.length - 1) : pixelFold;
}

/** A variant that no part has is a mistyped one. */
function checkVariant(location: string, variant: string, parts: readonly (LoadedPart<unknown> | undefined)[]): void {
  const loaded = parts.filter((one) => one !== undefined);
  if (loaded.some(({ weights }) => weights.variant === variant)) return;
  const listed = loaded.map(
    ({ name, weights }) => `${name}: ${weights.variants.map((one) => one || 'none').join(', ')}`,
  );
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `The model '${location}' has no weights of the variant '${variant}'.`,
    `Variants of its weights: ${listed.join('; ')}.`,
  );
}

function conditioningOf(location: string, { unet, transformer }: Denoiser): 'text' | 'class' {
  if (unet) return conditioningOfUNet(location, unet.config);
  return transformer?.config.kind === 'sd3' ? 'text' : 'class';
}

function conditioningOfUNet(location: string, config: UNetConfig): 'text' | 'class' {
  const text = hasCrossAttention(config);
  if (config.numClassEmbeds > 0 && text)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The UNet of '${location}' takes both text (cross-attention) and class labels (num_class_embeds = ${config.numClassEmbeds}).`,
      'Supported: one of the two.',
    );
  if (config.numClassEmbeds > 0) return 'class';
  if (!text)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The UNet of '${location}' is unconditional: it has neither cross-attention nor num_class_embeds.`,
      'Typicality compares a model with and without its condition: it needs a conditional model.',
    );
  return 'text';
}
