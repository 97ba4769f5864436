// Names of the original Stable Diffusion checkpoints (as their authors' programs write them) as those of diffusers. Stored names are translated, not
// looked up, so that a tensor that nothing reads is noticed.
import type { RenamedTensor } from '../../engine/types.js';

/** A tensor under our name, without the shape: undefined for one that has no place in the part. */
export type Translated = Omit<RenamedTensor, 'stored'> | readonly Omit<RenamedTensor, 'stored'>[] | undefined;

const RESNET: Record<string, string> = {
  'in_layers.0': 'norm1',
  'in_layers.2': 'conv1',
  'emb_layers.1': 'time_emb_proj',
  'out_layers.0': 'norm2',
  'out_layers.3': 'conv2',
  skip_connection: 'conv_shortcut',
};
const ROOT: Record<string, string> = {
  'time_embed.0': 'time_embedding.linear_1',
  'time_embed.2': 'time_embedding.linear_2',
  'label_emb.0.0': 'add_embedding.linear_1',
  'label_emb.0.2': 'add_embedding.linear_2',
  'input_blocks.0.0': 'conv_in',
  'out.0': 'conv_norm_out',
  'out.2': 'conv_out',
};

/** 'in_layers.0.weight' -> 'norm1.weight' */
const replaced = (inner: string, names: Record<string, string>): string | undefined => {
  const [, module = '', kind = ''] = /^(.*)\.(weight|bias)$/.exec(inner) ?? [];
  return names[module] === undefined ? undefined : `${names[module]}.${kind}`;
};

/** @param layers resnets of each down block; up blocks have one more */
export function unetName(name: string, layers: number): Translated {
  const plain = replaced(name, ROOT);
  if (plain !== undefined) return { name: plain };
  const place = (block: string, inner: string): Translated => {
    const module = /^(norm|proj_in|proj_out|transformer_blocks)\./.test(inner)
      ? `${block.replace('#', 'attentions')}.${inner}`
      : replaced(inner, RESNET) && `${block.replace('#', 'resnets')}.${replaced(inner, RESNET)}`;
    return module === undefined ? undefined : { name: module };
  };
  const [, side = '', index = '', inside = '', inner = ''] =
    /^(input_blocks|output_blocks|middle_block)\.(\d+)\.(?:(\d+)\.)?(.+)$/.exec(name) ?? [];
  const n = Number(index);
  if (side === 'middle_block')
    return place(`mid_block.#.${n === 2 ? 1 : 0}`, inside === '' ? inner : `${inside}.${inner}`);
  if (side === 'input_blocks') {
    const [block, layer] = [Math.floor((n - 1) / (layers + 1)), (n - 1) % (layers + 1)];
    const kind = /^op\.(weight|bias)$/.exec(inner)?.[1];
    return kind
      ? { name: `down_blocks.${block}.downsamplers.0.conv.${kind}` }
      : place(`down_blocks.${block}.#.${layer}`, inner);
  }
  const [block, layer] = [Math.floor(n / (layers + 1)), n % (layers + 1)];
  const kind = /^conv\.(weight|bias)$/.exec(inner)?.[1];
  return kind
    ? { name: `up_blocks.${block}.upsamplers.0.conv.${kind}` }
    : place(`up_blocks.${block}.#.${layer}`, inner);
}

/**
 * Modules of a UNet under their original names, with the weight that each is.
 *
 * @param weights the UNet's names
 */
export function unetOriginals(weights: readonly string[]): Map<string, [string]> {
  const there = new Set(weights);
  const layers = weights.filter((name) => /^down_blocks\.0\.resnets\.\d+\.conv1\.weight$/.test(name)).length;
  const blocks = weights.filter((name) => /^down_blocks\.\d+\.resnets\.0\.conv1\.weight$/.test(name)).length;
  const attention = new Set(weights.flatMap((name) => /\.attentions\.\d+\.(.+)\.weight$/.exec(name)?.[1] ?? []));
  const at = (place: string, inner: Iterable<string>): string[] => Array.from(inner, (one) => `${place}.${one}`);
  const [first, second] = [Object.keys(RESNET), attention];
  // a level has its layers and, but for the last, a change of size; output levels have one more layer
  const levels = Array.from({ length: blocks * (layers + 1) }, (_, n) => [
    ...['input_blocks', 'output_blocks'].flatMap((side) => [
      ...at(`${side}.${n}.0`, first),
      ...at(`${side}.${n}.1`, second),
    ]),
    `input_blocks.${n}.0.op`,
    `output_blocks.${n}.1.conv`,
    `output_blocks.${n}.2.conv`,
  ]).flat();
  const middle = [...at('middle_block.0', first), ...at('middle_block.1', second), ...at('middle_block.2', first)];
  return new Map(
    [...Object.keys(ROOT), ...levels, ...middle].flatMap((module) => {
      const translated = unetName(`${module}.weight`, layers);
      const weight = translated && 'name' in translated ? translated.name : undefined;
      return weight !== undefined && there.has(weight) ? [[module, [weight]] as const] : [];
    }),
  );
}

const ATTENTION: Record<string, string> = {
  norm: 'group_norm',
  q: 'to_q',
  k: 'to_k',
  v: 'to_v',
  proj_out: 'to_out.0',
};

/** @param blocks number of resolutions: the decoder's are counted from the other end */
export function vaeName(name: string, blocks: number, shape: readonly number[]): Translated {
  const [, side = '', rest = ''] = /^(?:(encoder|decoder)\.)?(.+)$/.exec(name) ?? [];
  if (side === '') return /^(post_)?quant_conv\.(weight|bias)$/.test(rest) ? { name } : undefined;
  const under = (inner: string): Translated => ({ name: `${side}.${inner}` });
  if (/^conv_(in|out)\./.test(rest)) return { name };
  if (rest.startsWith('norm_out.')) return under(rest.replace('norm_out', 'conv_norm_out'));
  const mid = /^mid\.(block|attn)_(\d)\.(.+)$/.exec(rest);
  if (mid?.[1] === 'block') return under(`mid_block.resnets.${Number(mid[2]) - 1}.${mid[3]}`);
  if (mid) {
    const inner = replaced(mid[3] ?? '', ATTENTION);
    if (inner === undefined) return undefined;
    // convolutions of one pixel, which diffusers has as linear layers
    const [out = 0, into = 0] = shape;
    const matrix = shape.length === 4 && !inner.startsWith('group_norm') ? { shape: [out, into] } : {};
    return { name: `${side}.mid_block.attentions.0.${inner}`, ...matrix };
  }
  const [, way = '', level = '', inner = ''] = /^(down|up)\.(\d+)\.(.+)$/.exec(rest) ?? [];
  if (way === '') return undefined;
  const block = `${way}_blocks.${way === 'up' ? blocks - 1 - Number(level) : Number(level)}`;
  const resnet = /^block\.(\d+)\.(.+)$/.exec(inner);
  if (resnet) return under(`${block}.resnets.${resnet[1]}.${resnet[2]?.replace('nin_shortcut', 'conv_shortcut')}`);
  const sampling = /^(down|up)sample\.(conv\..+)$/.exec(inner);
  return sampling ? under(`${block}.${sampling[1]}samplers.0.${sampling[2]}`) : undefined;
}

const OPEN_CLIP: Record<string, string> = {
  ln_1: 'layer_norm1',
  ln_2: 'layer_norm2',
  'mlp.c_fc': 'mlp.fc1',
  'mlp.c_proj': 'mlp.fc2',
  'attn.out_proj': 'self_attn.out_proj',
};

/** Of OpenCLIP's text encoders, which keep the projections of queries, keys and values in one matrix, and multiply with that of the text from the other side. */
export function openClipName(name: string, [rows = 0, columns = 0]: readonly number[]): Translated {
  if (name === 'text_projection') return { name: 'text_projection.weight', transposed: true, shape: [columns, rows] };
  if (name === 'positional_embedding') return { name: 'text_model.embeddings.position_embedding.weight' };
  if (name === 'token_embedding.weight') return { name: 'text_model.embeddings.token_embedding.weight' };
  if (name.startsWith('ln_final.')) return { name: name.replace('ln_final', 'text_model.final_layer_norm') };
  const [, layer = '', inner = ''] = /^transformer\.resblocks\.(\d+)\.(.+)$/.exec(name) ?? [];
  const at = `text_model.encoder.layers.${layer}`;
  const fused = /^attn\.in_proj_(weight|bias)$/.exec(inner)?.[1];
  if (fused !== undefined)
    return ['q', 'k', 'v'].map((one, i) => ({
      name: `${at}.self_attn.${one}_proj.${fused}`,
      rows: [(i * rows) / 3, ((i + 1) * rows) / 3] as const,
    }));
  const module = layer === '' ? undefined : replaced(inner, OPEN_CLIP);
  return module === undefined ? undefined : { name: `${at}.${module}` };
}

/** Of CLIP's, which transformers wrote. */
export const clipName = (name: string): Translated =>
  /^(text_model\.)?(embeddings|encoder|final_layer_norm)\./.test(name)
    ? { name: name.startsWith('text_model.') ? name : `text_model.${name}` }
    : undefined;
