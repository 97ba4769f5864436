// Weights in Python's pickle format can run code when they are read: they never are. Errors say how to convert them.
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';

const PICKLE = /\.(bin|ckpt|pt|pth)$/i;

export const isPickle = (name: string): boolean => PICKLE.test(name);

/**
 * How to convert a model in the layout of diffusers.
 *
 * @param from a folder or a name on the hub
 * @param loader a class of diffusers
 */
export function conversion(
  from: string,
  to: string,
  { loader = 'DiffusionPipeline', ...options }: { loader?: string; revision?: string; variant?: string } = {},
): string {
  const given = Object.entries(options).map(([name, value]) => `, ${name}=${JSON.stringify(value)}`);
  return `Convert it with Python: python -c 'from diffusers import ${loader}; ${loader}.from_pretrained(${JSON.stringify(from)}${given.join('')}).save_pretrained(${JSON.stringify(to)})'`;
}

/** Of a file that was given as a model, a VAE or a LoRA. */
export function pickleError(file: string): DiffmineError {
  const target = `${path.basename(file).replace(PICKLE, '')}.safetensors`;
  const quoted = (text: string): string => JSON.stringify(text);
  return new DiffmineError(
    'MODEL_INVALID',
    `'${file}' is a pickle file, which diffmine does not read: it could run code.`,
    `Convert it with Python: python -c 'import torch; from safetensors.torch import save_file; d = torch.load(${quoted(file)}, map_location="cpu", weights_only=True); d = d.get("state_dict", d); save_file({k: v.contiguous().clone() for k, v in d.items() if hasattr(v, "contiguous")}, ${quoted(target)})'`,
  );
}
