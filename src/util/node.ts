// First import of every entry point: an old Node ends in a sentence, not in the first thing that it lacks.
import { wrongNode } from '../../scripts/node-version.mjs';
import { DiffmineError } from './errors.js';

const wrong = wrongNode();
if (wrong) throw new DiffmineError('SETUP', wrong.message, wrong.hint);
