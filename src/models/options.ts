// Options of opening a model, as its readers take them. What people give is described in src/options/shared.ts (MODEL).
import type { ScheduleConfig } from '../engine/types.js';
import { absolutePlace } from './locate.js';

export interface OpenOptions {
  /** weight variant to read: 'fp16' for diffusion_pytorch_model.fp16.safetensors. Components without it use their default weights. Of a checkpoint: 'ema' or 'non_ema' */
  variant?: string | undefined;
  /** what a checkpoint of Stable Diffusion 2.x predicts, if it does not say that itself */
  prediction?: Exclude<ScheduleConfig['prediction'], 'flow'> | undefined;
  /** folder with the tokenizer of a checkpoint; default: CLIP's */
  tokenizer?: string | undefined;
  /** a VAE to use instead of the model's: a file, a folder, or a model of the hub */
  vae?: string | undefined;
  /** LoRA files to add to the weights, each with its scale: 'style.safetensors:0.8' */
  lora?: readonly string[] | undefined;
}

type Given = { [Key in keyof OpenOptions]?: OpenOptions[Key] | null };

/** The variant alone; nothing if it was not given. */
export const variantOf = ({ variant }: Pick<Given, 'variant'>): Pick<OpenOptions, 'variant'> =>
  variant === undefined || variant === null ? {} : { variant };

/** Of a command's options those that say how its model is opened, with places that mean the same from any folder. */
export function modelOptions({ variant, prediction, tokenizer, vae, lora }: Given): OpenOptions {
  return {
    ...variantOf({ variant }),
    ...(prediction ? { prediction } : {}),
    ...(tokenizer ? { tokenizer: absolutePlace(tokenizer) } : {}),
    ...(vae ? { vae: absolutePlace(vae) } : {}),
    ...(lora && lora.length > 0 ? { lora: lora.map(absolutePlace) } : {}),
  };
}
