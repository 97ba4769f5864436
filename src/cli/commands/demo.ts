// demo: the planted world, whose truth is known.
import { DiffmineError } from '../../errors';
import { command } from '../command';
import { DEMO } from '../options';
import { defined } from '../stages';

export const demoCommand = command({
  name: 'demo',
  describe: 'Draw a small world with known truth: streets of six imaginary cities, with a box for every planted element',
  options: { ...DEMO },
  examples: [['diffmine demo --data-only world', 'world/train, world/heldout and world/boxes.csv']],
  async handle({ 'data-only': folder, pictures, size, heldout, seed }, { output, signal }) {
    if (folder === undefined) {
      throw new DiffmineError('INVALID_ARGUMENT', 'This command draws pictures; no model trained on them comes with it.', 'Name a folder with --data-only; npm run demo shows the whole pipeline on photographs.');
    }
    const { writeWorld } = await import('../../world/world.js');
    const world = await writeWorld(folder, defined({ pictures, size, heldout, seed }), { signal, onProgress: output.progress });
    const text = [
      `${world.train.pictures} pictures to train on:  ${world.train.path}`,
      `${world.heldout.pictures} held-out pictures:    ${world.heldout.path}`,
      `${world.boxes.rows} boxes of planted elements: ${world.boxes.path}`,
    ].join('\n');
    return { text, json: world };
  },
});
