// The layers whose features and self-attention are injected (Plug-and-Play), for a UNet of any depth.
import { DiffmineError } from '../../util/errors.js';
import type { UNetConfig } from '../../engine/types.js';

/** Modules whose outputs are injected, as the UNet calls them. */
export interface Sites {
  /** second convolutions of ResNet blocks, before the shortcut is added */
  features: string[];
  /** self-attentions; of each the queries and keys */
  attention: string[];
}

/** All layers of the up blocks, from the lowest resolution on. */
export function allSites(unet: UNetConfig): Sites {
  const features: string[] = [];
  const attention: string[] = [];
  unet.upBlockTypes.forEach((type, block) => {
    const transformers = type.includes('CrossAttn')
      ? (unet.transformerLayers[unet.upBlockTypes.length - 1 - block] ?? 1)
      : 0;
    for (let layer = 0; layer <= unet.layersPerBlock; layer++) {
      features.push(`up_blocks.${block}.resnets.${layer}.conv2`);
      const at = `up_blocks.${block}.attentions.${layer}`;
      if (type === 'AttnUpBlock2D') attention.push(at);
      for (let i = 0; i < transformers; i++) attention.push(`${at}.transformer_blocks.${i}.attn1`);
    }
  });
  return { features, attention };
}

/**
 * The paper's places: features of the second ResNet block one level above the lowest resolution (`up_blocks.1.resnets.1.conv2`); self-attention of the
 * first up block that has any, but for its first, and of all later ones (in Stable Diffusion `up_blocks.1.attentions.1` and `.2`, `up_blocks.2`,
 * `up_blocks.3`).
 */
export function defaultSites(unet: UNetConfig): Sites {
  const { attention } = allSites(unet);
  const features = [`up_blocks.${Math.min(1, unet.upBlockTypes.length - 1)}.resnets.1.conv2`];
  const first = attention[0]?.split('.').slice(0, 4).join('.');
  return { features, attention: attention.filter((path) => !within(path, first ?? '')) };
}

function within(path: string, place: string): boolean {
  return path === place || path.startsWith(`${place}.`);
}

/**
 * The layers that `asked` names, by path or by the beginning of a path ("up_blocks.2" is the whole block).
 *
 * @throws INVALID_ARGUMENT for one that names none
 */
export function chooseSites(known: readonly string[], asked: readonly string[], option: string): string[] {
  const chosen = asked.map((place) => {
    const found = known.filter((path) => within(path, place));
    if (found.length === 0) {
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `\`${option}\`: the model has no such layer ${JSON.stringify(place)}.`,
        known.length > 0
          ? `It has: ${known.join(', ')}; a prefix such as up_blocks.1 names all layers that begin with it.`
          : 'Its up blocks have none.',
        { option },
      );
    }
    return found;
  });
  return [...new Set(chosen.flat())];
}

/** The module paths to inject at for a self-attention. */
export function queriesAndKeys(attention: readonly string[]): string[] {
  return attention.flatMap((path) => [`${path}.to_q`, `${path}.to_k`]);
}
