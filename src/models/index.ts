// Model folders, and conditions from labels and prompts.
export { clashes, conditionKeys, difference } from './clashes.js';
export { checkLabels, classIds, encodePrompts, nullCondition, prepareConditions } from './conditions.js';
export {
  defaultSize,
  openModel,
  untrained,
  variantForEach,
  variantOf,
  type ModelFolder,
  type ModelSummary,
  type OpenOptions,
} from './folder.js';
export { hubIdOf, locate, recordedModel, type HubSource } from './locate.js';
export type { HubHooks } from './hub/hub.js';
export { Tokenizer, TOKENS } from './tokenizer.js';
