// What a model folder is, and how labels and prompts become its conditions.
export { classIds, encodePrompts, prepareConditions } from './conditions';
export { openModel, untrained, variantOf, type ModelFolder, type ModelSummary, type OpenOptions } from './folder';
export { Tokenizer, TOKENS } from './tokenizer';
