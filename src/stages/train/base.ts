// What a training starts from: what is common to a model that is fine-tuned (fine-tuned.ts) and to one that is made for it (new-model.ts).
import { fillPrompt } from '../../data/index.js';
import { listed } from '../../data/labels.js';
import type { Engine } from '../../engine/index.js';
import type { CallOptions, ConditionInput, ModelPart, ModelSource, UNetConfig } from '../../engine/types.js';
import type { Architecture } from '../../models/denoiser.js';
import { clashes, conditionKeys, encodePrompts, nullCondition, type ModelFolder } from '../../models/index.js';
import type { TrainSettings } from './options.js';

/** The settings that name models. */
export type Named = Pick<TrainSettings, 'from' | 'new' | 'vae' | 'textEncoder' | 'variant' | 't5' | 'fold'>;

export interface Base {
  architecture: Architecture;
  /** predicts the velocity of a flow */
  flow: boolean;
  kind: 'latent' | 'pixel';
  conditioning: 'text' | 'class';
  /** default side of the crops, and the number that sides must be a multiple of, in pixels */
  side: number;
  multiple: number;
  /** pixels a latent cell, and pixels folded, in each direction */
  vaeFactor: number;
  fold: number;
  /** timestep spacing of the model's scheduler */
  spacing: string;
  /** the trained denoiser; its initial weights are those of `from`, or random */
  start(labels: readonly string[], seed: number): Pick<ModelSource, 'unet' | 'transformer' | 'schedule'>;
  /** models that encode latents and text; undefined for class-conditional pixel models */
  encoder: ModelSource | undefined;
  /** fingerprint of the encoder's output */
  encoderFingerprint: string;
  /** rows of conditions, one a label in order, then the null condition; text needs the encoder loaded */
  conditions(
    engine: Engine,
    labels: readonly string[],
    settings: Pick<TrainSettings, 'prompt' | 'nullPrompt'>,
    call?: CallOptions,
  ): Promise<ConditionInput>;
  /**
   * Warns about labels that the model cannot distinguish.
   *
   * @throws INVALID_ARGUMENT for labels that a class model does not know
   */
  checkLabels(
    labels: readonly string[],
    settings: Pick<TrainSettings, 'prompt' | 'nullPrompt' | 'size'>,
    onLog?: (sentence: string) => void,
  ): void;
  /** Writes the model folder for crops of `side` pixels; `weights` writes the UNet's weights to the given file. */
  write(
    folder: string,
    made: { labels: readonly string[]; side: number },
    weights: (file: string) => Promise<void>,
  ): Promise<void>;
}

/** A minimal UNet, for encoding, which does not need one. */
export function placeholder(channels: number): ModelPart<UNetConfig> {
  const config: UNetConfig = {
    inChannels: channels,
    outChannels: channels,
    blockOutChannels: [8],
    downBlockTypes: ['DownBlock2D'],
    upBlockTypes: ['UpBlock2D'],
    midBlockType: 'UNetMidBlock2D',
    layersPerBlock: 1,
    attentionHeadDim: [8],
    transformerLayers: [1],
    crossAttentionDim: 8,
    normNumGroups: 8,
    normEps: 1e-5,
    useLinearProjection: false,
    upcastAttention: false,
    scaleShift: false,
    numClassEmbeds: 1,
    flipSinToCos: true,
    freqShift: 0,
    pixelFold: 1,
  };
  return { config, files: [], initial: 0 };
}

export function textConditions(model: ModelFolder): Base['conditions'] {
  return async (engine, labels, { prompt, nullPrompt }, call) =>
    encodePrompts(
      engine,
      model,
      [...labels.map((label) => fillPrompt(prompt ?? '{label}', label)), nullCondition(nullPrompt)],
      call,
    );
}

/** Labels that are trained under the same condition, and labels that are trained as if they were the null condition. */
export function tellClashes(
  model: Pick<ModelFolder, 'path' | 'labels' | 'tokenizers'>,
  labels: readonly string[],
  { prompt, nullPrompt }: Pick<TrainSettings, 'prompt' | 'nullPrompt'>,
  onLog?: (sentence: string) => void,
): void {
  const names = model.tokenizers ? labels.map((label) => fillPrompt(prompt ?? '{label}', label)) : labels;
  for (const sentence of clashes(model, labels, names)) onLog?.(sentence);
  const keys = conditionKeys(model, [...names, nullPrompt ?? '']);
  const same = labels.filter((_, i) => keys[i] === keys[labels.length]);
  if (same.length > 0)
    onLog?.(
      `The prompt of ${listed(same)} is the null prompt ${JSON.stringify(nullPrompt)} to this model: training cannot learn that label.`,
    );
}
