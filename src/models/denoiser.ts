// What differs between kinds of denoisers (UNets and transformers), for all that need one of either.
import type { ModelPart, ModelSource, UNetConfig } from '../engine/types.js';
import type { Range } from '../options/fields.js';
import { DiffmineError } from '../util/errors.js';

type Denoiser = Pick<ModelSource, 'unet' | 'transformer'>;

/** dit: DiT; sd3: Stable Diffusion 3 and 3.5 */
export type Architecture = 'unet' | 'dit' | 'sd3';

const NAMES: Record<Architecture, string> = { unet: 'a UNet', dit: 'a DiT', sd3: 'Stable Diffusion 3' };

export function architectureOf({ transformer }: Denoiser): Architecture {
  return transformer ? transformer.config.kind : 'unet';
}

/** C of what it denoises: [C, h, w]. */
export function channelsOf({ unet, transformer }: Denoiser): number {
  return (transformer ?? unet)?.config.inChannels ?? 0;
}

/** Blocks that features can be taken from: up blocks, or the blocks of a transformer. */
export function featureBlocksOf({ unet, transformer }: Denoiser): number {
  return transformer ? transformer.config.numLayers : (unet?.config.upBlockTypes.length ?? 0);
}

/** Where DIFT features are taken from: the block and the timestep. */
export interface FeaturePlace {
  upBlock: number;
  diftT: number;
}

/**
 * Where DIFT features are taken from. Of UNets as DIFT does (Tang et al. 2023); of transformers half-way, and of flows at t = 260, as for Flux by Gan et al.
 * (2025), who take what the block's attention reads: after its adaptive norm.
 */
export function defaultFeatures(source: Denoiser & Pick<ModelSource, 'schedule'>): FeaturePlace {
  const blocks = featureBlocksOf(source);
  const { prediction, trainTimesteps } = source.schedule;
  return {
    upBlock: source.transformer ? Math.floor(blocks / 2) : Math.min(1, blocks - 1),
    diftT: Math.min(prediction === 'flow' ? Math.round(0.26 * trainTimesteps) : 161, trainTimesteps - 1),
  };
}

/** Timesteps that are scored where nothing else is asked for, as fractions of the schedule: the paper's, for Stable Diffusion's UNet. */
export const DEFAULT_RANGE: Range = [0.1, 0.7];
/**
 * The paper's range holds noise of 0.34 to 3.3 times the signal. A flow has that at sigma = 0.26 to 0.77, and its timesteps are sigma T; DiT's schedule,
 * which is linear in beta, at t = 0.10 to 0.49. docs/results/timesteps.md: contrast divided by noise depends on the noise level alone.
 */
const FLOW_RANGE: Range = [0.25, 0.75];
const DIT_RANGE: Range = [0.1, 0.5];

export function defaultRange(source: Denoiser & Pick<ModelSource, 'schedule'>): Range {
  if (source.schedule.prediction === 'flow') return FLOW_RANGE;
  return source.transformer ? DIT_RANGE : DEFAULT_RANGE;
}

/** The UNet or the transformer of a model. */
export function denoiserOf({ unet, transformer }: Denoiser): ModelPart<unknown> {
  const part = unet ?? transformer;
  if (part) return part;
  throw new DiffmineError('MODEL_INVALID', 'The model has neither a UNet nor a transformer.');
}

/** The same with a change of its UNet or transformer. */
export function withDenoiser<Source extends Denoiser>(
  source: Source,
  change: <Config>(part: ModelPart<Config>) => ModelPart<Config>,
): Source {
  const { unet, transformer } = source;
  return {
    ...source,
    ...(unet && { unet: change(unet) }),
    ...(transformer && { transformer: change(transformer) }),
  };
}

/**
 * The UNet of a model.
 *
 * @param task what needs one: 'Training'
 * @throws MODEL_UNSUPPORTED for other kinds
 */
export function unetOf(source: Denoiser, task = 'This'): ModelPart<UNetConfig> {
  if (source.unet) return source.unet;
  throw new DiffmineError(
    'MODEL_UNSUPPORTED',
    `${task} needs a model with a UNet; this one is ${NAMES[architectureOf(source)]}.`,
    'Scanning, mining, localizing, sampling and training a LoRA work with this model.',
  );
}
