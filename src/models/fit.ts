// Checks that the components of a model fit each other, from their configs and headers.
import { DiffmineError } from '../util/errors.js';
import type {
  ModelPart,
  T5Config,
  TextEncoderConfig,
  TransformerConfig,
  UNetConfig,
  VaeConfig,
} from '../engine/types.js';
import type { T5Tokenizer } from './t5-tokenizer.js';
import type { Tokenizer } from './tokenizer.js';
import { shapeOf, type Weights } from './weights.js';

export interface LoadedPart<Config> extends ModelPart<Config> {
  /** unet, vae, text_encoder */
  name: string;
  weights: Weights;
}

export interface TextParts {
  encoders: LoadedPart<TextEncoderConfig>[];
  /** one for each encoder */
  tokenizers: Tokenizer[];
  /** of Stable Diffusion 3, if it is used */
  t5?: { encoder: LoadedPart<T5Config>; tokenizer: T5Tokenizer };
}

const mismatch = (
  what: string,
  hint = 'The components of the folder belong to different models, or a config.json was changed.',
): DiffmineError => new DiffmineError('MODEL_INVALID', `${what}.`, hint);

/** A tensor of a part, under one of its names, must have the shape that the configuration gives it. */
function expect(owner: LoadedPart<unknown>, shape: number[], ...names: string[]): void {
  const got = shapeOf(owner.weights, ...names);
  if (!got) throw mismatch(`The weights of ${owner.name} have no tensor '${names[0]}'`);
  if (got.join() !== shape.join())
    throw mismatch(
      `The tensor '${names[0]}' of ${owner.name} has shape [${got.join(', ')}], but its config.json asks for [${shape.join(', ')}]`,
    );
}

function expectVae(vae: LoadedPart<VaeConfig>): void {
  const { blockOutChannels, inChannels, latentChannels } = vae.config;
  expect(vae, [blockOutChannels[0] as number, inChannels, 3, 3], 'encoder.conv_in.weight');
  expect(vae, [blockOutChannels.at(-1) as number, latentChannels, 3, 3], 'decoder.conv_in.weight');
}

/** As checkFit, for a transformer. */
export function checkTransformer(
  transformer: LoadedPart<TransformerConfig>,
  vae?: LoadedPart<VaeConfig>,
  text?: TextParts,
): void {
  const { config } = transformer;
  const { inChannels, patchSize } = config;
  const width = config.numAttentionHeads * config.attentionHeadDim;
  expect(transformer, [width, inChannels, patchSize, patchSize], 'pos_embed.proj.weight');
  if (config.kind === 'dit')
    expect(
      transformer,
      [config.numClasses + 1, width],
      'transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight',
    );
  else {
    expect(transformer, [width, config.jointAttentionDim], 'context_embedder.weight');
    const sum = (size: (one: TextEncoderConfig) => number): number =>
      (text?.encoders ?? []).reduce((total, encoder) => total + size(encoder.config), 0);
    const [hidden, pooled] = [sum(({ hiddenSize }) => hiddenSize), sum(({ projection }) => projection?.dim ?? 0)];
    if (hidden > config.jointAttentionDim || pooled !== config.pooledProjectionDim)
      throw mismatch(
        `The text encoders give ${hidden} channels and ${pooled} pooled ones, but the transformer takes ${config.jointAttentionDim} (joint_attention_dim) and ${config.pooledProjectionDim} (pooled_projection_dim)`,
      );
    if (text?.t5) checkT5(text.t5, config.jointAttentionDim);
  }
  if (!vae) return;
  if (vae.config.latentChannels !== inChannels)
    throw mismatch(
      `The transformer takes ${inChannels} channels (in_channels), but the VAE makes ${vae.config.latentChannels} (latent_channels)`,
    );
  expectVae(vae);
}

function checkT5({ encoder, tokenizer }: Required<TextParts>['t5'], width: number): void {
  const { dModel, vocabSize } = encoder.config;
  if (dModel !== width)
    throw mismatch(
      `T5 (text_encoder_3) gives ${dModel} channels (d_model), but the transformer takes ${width} (joint_attention_dim)`,
    );
  if (tokenizer.vocabSize > vocabSize)
    throw mismatch(
      `The tokenizer of T5 (tokenizer_3) has ids up to ${tokenizer.vocabSize - 1}, but text_encoder_3's vocab_size is ${vocabSize}`,
    );
  expect(encoder, [vocabSize, dModel], 'shared.weight', 'encoder.embed_tokens.weight');
}

/** Whether the parts fit each other, and the weights their configurations, as far as headers tell. */
export function checkFit(unet: LoadedPart<UNetConfig>, vae?: LoadedPart<VaeConfig>, text?: TextParts): void {
  const { inChannels, blockOutChannels, crossAttentionDim, numClassEmbeds, pixelFold, addedEmbedding } = unet.config;
  const width = blockOutChannels[0] as number;
  expect(unet, [width, inChannels, 3, 3], 'conv_in.weight');
  expect(unet, [inChannels, width, 3, 3], 'conv_out.weight');
  if (numClassEmbeds > 0) expect(unet, [numClassEmbeds, 4 * width], 'class_embedding.weight');
  if (vae) {
    if (pixelFold !== 1)
      throw new DiffmineError(
        'MODEL_UNSUPPORTED',
        `The UNet folds pixels (pixel_fold = ${pixelFold}) and has a VAE.`,
        'Supported: one of the two.',
      );
    if (vae.config.latentChannels !== inChannels) {
      throw new DiffmineError(
        'MODEL_UNSUPPORTED',
        `The UNet takes ${inChannels} channels (in_channels), but the VAE makes ${vae.config.latentChannels} (latent_channels).`,
        'Supported are UNets whose only input is the latent, not inpainting, depth or super-resolution models.',
      );
    }
    expectVae(vae);
  }
  if (!text) return;
  const textWidth = text.encoders.reduce((sum, { config }) => sum + config.hiddenSize, 0);
  if (textWidth !== crossAttentionDim)
    throw mismatch(
      text.encoders.length > 1
        ? `The text encoders' hidden_size add up to ${textWidth}, which is not the UNet's cross_attention_dim = ${crossAttentionDim}`
        : `The text encoder's hidden_size = ${textWidth} is not the UNet's cross_attention_dim = ${crossAttentionDim}`,
    );
  for (const [i, encoder] of text.encoders.entries()) {
    const { hiddenSize, vocabSize, projection } = encoder.config;
    const tokenizer = text.tokenizers[i] as TextParts['tokenizers'][number];
    if (tokenizer.vocabSize > vocabSize)
      throw mismatch(
        `The tokenizer has ids up to ${tokenizer.vocabSize - 1}, but the text encoder's vocab_size is ${vocabSize}`,
        // only the parts of a checkpoint have renamed tensors
        encoder.tensors && 'Give `tokenizer`: the folder of the tokenizer that the checkpoint was trained with.',
      );
    const homeless = tokenizer.added.find(({ id }) => id >= vocabSize);
    if (homeless) {
      throw new DiffmineError(
        'MODEL_INVALID',
        `The tokenizer's added token '${homeless.content}' has the id ${homeless.id}, but the text encoder has embeddings for 0 ... ${vocabSize - 1} only.`,
        'Save the text encoder after text_encoder.resize_token_embeddings(len(tokenizer)), or remove the token from the tokenizer.',
      );
    }
    expect(
      encoder,
      [vocabSize, hiddenSize],
      'text_model.embeddings.token_embedding.weight',
      'embeddings.token_embedding.weight',
    );
    if (projection && addedEmbedding && projection.dim !== addedEmbedding.pooled)
      throw mismatch(
        `The second text encoder's projection_dim = ${projection.dim} beside six time ids does not fit the UNet's projection_class_embeddings_input_dim`,
      );
  }
  if (addedEmbedding)
    expect(unet, [4 * width, addedEmbedding.pooled + 6 * addedEmbedding.size], 'add_embedding.linear_1.weight');
}
