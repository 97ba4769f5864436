// Models of random weights, made in memory: a benchmark of the full size needs no download.
import { DiffmineError } from '../errors';
import type { ModelSource } from '../native/types';

/** Stable Diffusion 1.5's UNet (860 M parameters) and schedule. */
function sd15(): ModelSource {
  const down = 'CrossAttnDownBlock2D';
  const up = 'CrossAttnUpBlock2D';
  return {
    unet: {
      config: {
        inChannels: 4,
        outChannels: 4,
        blockOutChannels: [320, 640, 1280, 1280],
        downBlockTypes: [down, down, down, 'DownBlock2D'],
        upBlockTypes: ['UpBlock2D', up, up, up],
        midBlockType: 'UNetMidBlock2DCrossAttn',
        layersPerBlock: 2,
        attentionHeadDim: [8, 8, 8, 8],
        transformerLayers: [1, 1, 1, 1],
        crossAttentionDim: 768,
        normNumGroups: 32,
        normEps: 1e-5,
        useLinearProjection: false,
        upcastAttention: false,
        scaleShift: false,
        numClassEmbeds: 0,
        flipSinToCos: true,
        freqShift: 0,
        pixelFold: 1,
      },
      files: [],
      synthetic: 1,
    },
    schedule: {
      betaSchedule: 'scaled_linear',
      trainTimesteps: 1000,
      betaStart: 0.00085,
      betaEnd: 0.012,
      prediction: 'epsilon',
      setAlphaToOne: false,
      stepsOffset: 1,
      clipSample: false,
      clipSampleRange: 1,
    },
  };
}

const SYNTHETIC: Record<string, () => ModelSource> = { sd15 };

/** The model named `synthetic:NAME`. Throws INVALID_ARGUMENT for an unknown name. */
export function syntheticModel(name: string): ModelSource {
  const make = SYNTHETIC[name.replace(/^synthetic:/, '')];
  if (!make) throw new DiffmineError('INVALID_ARGUMENT', `There is no model "${name}".`, `Known: ${Object.keys(SYNTHETIC).map((known) => `synthetic:${known}`).join(', ')}.`);
  return make();
}
