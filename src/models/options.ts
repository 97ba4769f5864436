// Options of opening a model, as its readers take them. What people give is described in src/options/shared.ts (MODEL).
import type { ScheduleConfig } from '../engine/types.js';
import { absolutePlace } from './locate.js';

export interface OpenOptions {
  /** weight variant to read: 'fp16' for diffusion_pytorch_model.fp16.safetensors. Components without it use their default weights. Of a checkpoint: 'ema' or 'non_ema' */
  variant?: string | undefined;
  /** what a checkpoint of Stable Diffusion 2.x predicts, if it does not say that itself */
  prediction?: Exclude<ScheduleConfig['prediction'], 'flow'> | undefined;
  /** false leaves out T5, the third text encoder of Stable Diffusion 3 */
  t5?: boolean | undefined;
  /** folder with the tokenizer of a checkpoint; default: CLIP's */
  tokenizer?: string | undefined;
  /** a VAE to use instead of the model's: a file, a folder, or a model of the hub */
  vae?: string | undefined;
  /** LoRA files to add to the weights, each with its scale: 'style.safetensors:0.8' */
  lora?: readonly string[] | undefined;
}

type Given = { [Key in keyof OpenOptions]?: OpenOptions[Key] | null };

/** Which files of a model are read: those that were given of `variant` and `t5`. */
export const variantOf = ({ variant, t5 }: Pick<Given, 'variant' | 't5'>): Pick<OpenOptions, 'variant' | 't5'> => ({
  ...(variant === undefined || variant === null ? {} : { variant }),
  ...(t5 === false ? { t5 } : {}),
});

/** Of a command's options those that say how its model is opened, with places that mean the same from any folder. */
export function modelOptions({ variant, t5, prediction, tokenizer, vae, lora }: Given): OpenOptions {
  return {
    ...variantOf({ variant, t5 }),
    ...(prediction ? { prediction } : {}),
    ...(tokenizer ? { tokenizer: absolutePlace(tokenizer) } : {}),
    ...(vae ? { vae: absolutePlace(vae) } : {}),
    ...(lora && lora.length > 0 ? { lora: lora.map(absolutePlace) } : {}),
  };
}
