// Known architectures, so that a scan can be estimated without the model's files.
import type { ModelSource } from '../../engine/types.js';
import { parameterCount } from '../../models/parameters.js';
import { syntheticModel } from '../bench/synthetic.js';
import { transformerParameters } from '../../models/transformer-size.js';

export const ARCHITECTURES = ['sd15', 'sdxl', 'sd3', 'dit', 'demo'] as const;
export type ArchitectureName = (typeof ARCHITECTURES)[number];

export interface Architecture {
  title: string;
  source: Omit<ModelSource, 'schedule'>;
  /** of all components */
  parameters: number;
  /** pixels */
  sampleSize: number;
  vaeFactor: number;
  fold: number;
  /** what a reader must know */
  note?: string;
}

/** Parameters of the published components besides the UNet. */
const VAE = 83.7e6;
const CLIP_L = 123.1e6;
const CLIP_G = 694.7e6;
export function architecture(name: ArchitectureName): Architecture {
  const source = syntheticModel(`synthetic:${name}`);
  const { unet, transformer } = source;
  const own = transformer ? transformerParameters(transformer.config) : unet ? parameterCount(unet.config) : 0;
  switch (name) {
    case 'sd15':
      return {
        title: 'Stable Diffusion 1.5',
        source,
        parameters: own + VAE + CLIP_L,
        sampleSize: 512,
        vaeFactor: 8,
        fold: 1,
      };
    case 'sdxl':
      return {
        title: 'Stable Diffusion XL',
        source,
        parameters: own + VAE + CLIP_L + CLIP_G,
        sampleSize: 1024,
        vaeFactor: 8,
        fold: 1,
      };
    case 'sd3':
      return {
        title: 'Stable Diffusion 3 medium',
        source,
        parameters: own + VAE + CLIP_L + CLIP_G,
        sampleSize: 1024,
        vaeFactor: 8,
        fold: 1,
        note: 'T5, which reads the prompts once, is left out.',
      };
    case 'dit':
      return {
        title: 'DiT-XL/2 (256 px)',
        source,
        parameters: own + VAE,
        sampleSize: 256,
        vaeFactor: 8,
        fold: 1,
      };
    case 'demo':
      return {
        title: "the demo's model",
        source,
        parameters: own,
        sampleSize: 64,
        vaeFactor: 1,
        fold: unet?.config.pixelFold ?? 1,
      };
  }
}
