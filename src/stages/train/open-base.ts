// Opens what a training starts from: the model that it fine-tunes, or the parts of a new one.
import { denoiserOf } from '../../models/denoiser.js';
import type { HubHooks } from '../../models/hub/hub.js';
import { openModel, variantOf } from '../../models/index.js';
import { DiffmineError } from '../../util/errors.js';
import type { Base, Named } from './base.js';
import { fromModel } from './fine-tuned.js';
import { newModel } from './new-model.js';

/** Opens the models that the settings name, without loading weights. */
export async function openBase(named: Named, hooks: HubHooks = {}): Promise<Base> {
  if ((named.from === null) === (named.new === null)) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      named.from === null ? 'Neither `from` nor `new` was given.' : '`from` and `new` cannot be used together.',
      'Give `from` MODEL to fine-tune it, or `new` SIZE (diffmine train --list-sizes) to start from scratch.',
    );
  }
  if (named.from !== null) {
    if (named.vae !== null || named.textEncoder !== null || named.fold !== null)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '`vae`, `textEncoder` and `fold` need `new`: fine-tuning keeps those of the model.',
        'Leave them out, or train a new model with `new`.',
      );
    const model = await openModel(named.from, variantOf(named), hooks);
    const denoiser = denoiserOf(model.source);
    if (denoiser.tensors)
      throw new DiffmineError(
        'MODEL_UNSUPPORTED',
        `'${named.from}' is a checkpoint in one file; fine-tuning needs a model folder.`,
        `Convert it with Python: python -c 'from diffusers import StableDiffusionPipeline; StableDiffusionPipeline.from_single_file("${named.from}").save_pretrained("FOLDER")'`,
      );
    if (denoiser.lora)
      throw new DiffmineError(
        'MODEL_UNSUPPORTED',
        `'${named.from}' is a LoRA, not a complete model.`,
        'Give `from` its base model.',
      );
    return fromModel(model);
  }
  return newModel(named, hooks);
}
