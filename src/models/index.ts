// Model folders, and conditions from labels and prompts.
export { clashes, conditionKeys, difference } from './clashes.js';
export { checkLabels, classIds, encodePrompts, nullCondition, prepareConditions } from './conditions.js';
export { defaultSize, untrained, type ModelFolder, type ModelSummary } from './model.js';
export { checkNullCondition, type NullUse } from './null-condition.js';
export { openModel, variantForEach } from './open.js';
export { modelOptions, variantOf, type OpenOptions } from './options.js';
export { hubIdOf, locate, recordedModel, type HubSource } from './locate.js';
export type { HubHooks } from './hub/hub.js';
export { Tokenizer, TOKENS } from './tokenizer.js';
