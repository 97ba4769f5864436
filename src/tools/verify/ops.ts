// The table of what verify can check: op -> the function that computes a case's outputs with this package.
import { kmeansOp } from './ops/clustering.js';
import { cotypicalityOp, diftSequenceOp } from './ops/cotypicality.js';
import { addNoiseOp, ddimInvertOp, ddimSampleOp, ddimStepOp, ddimTimestepsOp, scheduleOp } from './ops/diffusion.js';
import { aucprOp, blurOp } from './ops/localization.js';
import { classLabelsOp, clipTextOp, clipTokenizeOp, unetOp, vaeDecodeOp, vaeEncodeOp } from './ops/models.js';
import { sdxlTextOp, sdxlTypicalityOp, sdxlUnetOp } from './ops/sdxl.js';
import { lanczosResizeOp } from './ops/images.js';
import { trainOp } from './ops/training.js';
import { pnpTimestepsOp, pnpTranslateOp } from './ops/translation.js';
import {
  ditOp,
  ditTypicalityOp,
  flowTimestepsOp,
  sd3TextOp,
  sd3TransformerOp,
  sd3TypicalityOp,
  t5TextOp,
  t5TokenizeOp,
} from './ops/transformers.js';
import type { Op } from './ops/op.js';
import { diftOp, selectOp, typicalityOp } from './ops/typicality.js';

/** Everything else a manifest may hold is listed as not checked. */
export const OPS: ReadonlyMap<string, Op> = new Map<string, Op>([
  ['clip_tokenize', clipTokenizeOp],
  ['clip_text', clipTextOp],
  ['class_labels', classLabelsOp],
  ['vae_encode', vaeEncodeOp],
  ['vae_decode', vaeDecodeOp],
  ['unet', unetOp],
  ['schedule', scheduleOp],
  ['add_noise', addNoiseOp],
  ['ddim_timesteps', ddimTimestepsOp],
  ['ddim_step', ddimStepOp],
  ['ddim_invert', ddimInvertOp],
  ['ddim_sample', ddimSampleOp],
  ['typicality', typicalityOp],
  ['select', selectOp],
  ['dit', ditOp],
  ['dit_typicality', ditTypicalityOp],
  ['sd3_text', sd3TextOp],
  ['t5_tokenize', t5TokenizeOp],
  ['t5_text', t5TextOp],
  ['sd3_transformer', sd3TransformerOp],
  ['flow_timesteps', flowTimestepsOp],
  ['sd3_typicality', sd3TypicalityOp],
  ['dift', diftOp],
  ['dift_sequence', diftSequenceOp],
  ['cotypicality', cotypicalityOp],
  ['kmeans', kmeansOp],
  ['lanczos_resize', lanczosResizeOp],
  ['train', trainOp],
  ['pnp_timesteps', pnpTimestepsOp],
  ['pnp_translate', pnpTranslateOp],
  ['sdxl_text', sdxlTextOp],
  ['sdxl_unet', sdxlUnetOp],
  ['sdxl_typicality', sdxlTypicalityOp],
  ['aucpr', aucprOp],
  ['blur', blurOp],
]);
