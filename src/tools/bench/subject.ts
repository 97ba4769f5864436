// The model that is measured, by name or folder, and the inputs of its UNet.
import { openModel } from '../../models/index.js';
import type { HubHooks, ModelFolder, OpenOptions } from '../../models/index.js';
import { fromInt64 } from '../../engine/tensor.js';
import type { ConditionInput, ModelSource } from '../../engine/types.js';
import { JOINT_TOKENS } from '../../models/transformer-size.js';
import { noise } from './figures.js';
import { parameterCount } from '../../models/parameters.js';
import { unetOf } from '../../models/denoiser.js';
import { transformerParameters } from '../../models/transformer-size.js';
import { syntheticModel } from './synthetic.js';

export interface Subject {
  name: string;
  source: ModelSource;
  /** of the UNet */
  parameters: number;
  /** pixels of an image a cell of the UNet's input */
  pixelsPerCell: number;
  folder?: ModelFolder;
}

/**
 * @param name 'synthetic:NAME' or a model folder
 * @param options of a model folder
 * @throws INVALID_ARGUMENT for an unknown name; what opening a model throws
 */
export async function openSubject(name: string, options: OpenOptions = {}, hooks: HubHooks = {}): Promise<Subject> {
  const folder = name.startsWith('synthetic:') ? undefined : await openModel(name, options, hooks);
  const source = folder?.source ?? syntheticModel(name);
  const { vae, unet, transformer } = source;
  const vaeFactor = vae ? 2 ** (vae.config.blockOutChannels.length - 1) : 1;
  return {
    name,
    source,
    parameters: transformer ? transformerParameters(transformer.config) : unet ? parameterCount(unet.config) : 0,
    pixelsPerCell: vaeFactor * (unet?.config.pixelFold ?? 1),
    ...(folder && { folder }),
  };
}

/** Two conditions, as a scan has them: a label's and the null one. Embeddings F32 [2, tokens, D], or classes I64 [2]. */
export function twoConditions({ source }: Subject): ConditionInput {
  if (source.transformer?.config.kind === 'dit') return fromInt64([2], [0, source.transformer.config.numClasses]);
  if (source.transformer?.config.kind === 'sd3') {
    const { jointAttentionDim, pooledProjectionDim } = source.transformer.config;
    return { text: noise([2, JOINT_TOKENS, jointAttentionDim]), pooled: noise([2, pooledProjectionDim]) };
  }
  const { numClassEmbeds, crossAttentionDim, addedEmbedding } = unetOf(source, 'A benchmark').config;
  if (numClassEmbeds > 0) return fromInt64([2], [0, numClassEmbeds - 1]);
  const text = noise([2, 77, crossAttentionDim]);
  return addedEmbedding ? { text, pooled: noise([2, addedEmbedding.pooled]) } : text;
}
