// setup: LibTorch and the native part, found, fetched or built.
import { DiffmineError } from '../../util/errors.js';
import { command } from '../command.js';
import { SETUP } from '../options.js';

export const setupCommand = command({
  name: 'setup',
  describe: 'Find or fetch LibTorch and build the native part; quick when all is in place',
  options: { ...SETUP },
  resumeHint: 'The same command goes on where this one stopped.',
  async handle(values, { output, signal }) {
    if (values.cuda && values['no-cuda'])
      throw new DiffmineError('INVALID_ARGUMENT', '--cuda and --no-cuda exclude each other.', 'Give one of them.');
    const { setup } = await import('../../tools/setup/setup.js');
    const cuda = values.cuda ? true : values['no-cuda'] ? false : undefined;
    const summary = await setup({ libtorch: values.libtorch, cuda }, { log: (line) => output.log(line), signal });
    const { version, source, folder } = summary.libtorch;
    return {
      text: `${summary.built ? 'Built' : 'Up to date'}: ${summary.addon} (LibTorch ${version} from ${source}: ${folder})`,
      json: summary,
    };
  },
});
