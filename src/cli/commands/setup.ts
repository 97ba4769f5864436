// setup: finds or downloads LibTorch, and takes a prebuilt addon or builds one.
import { DiffmineError } from '../../util/errors.js';
import { command } from '../command.js';
import { SETUP } from '../../tools/setup/options.js';

export const setupCommand = command({
  options: SETUP,
  resumeHint: 'Run the same command to resume.',
  async handle(values, { output, signal }) {
    if (values.cuda && values.noCuda)
      throw new DiffmineError('INVALID_ARGUMENT', '`cuda` and `noCuda` cannot be used together.', 'Give one of them.');
    const { setup } = await import('../../tools/setup/setup.js');
    const cuda = values.cuda ? true : values.noCuda ? false : undefined;
    const summary = await setup(
      { libtorch: values.libtorch, cuda, build: values.build },
      { onLog: (line) => output.log(line), signal },
    );
    const { version, source, folder } = summary.libtorch;
    return {
      text: `${summary.built ? 'Built' : summary.prebuilt === null ? 'Up to date' : `Prebuilt by ${summary.prebuilt}`}: ${summary.addon} (LibTorch ${version} from ${source}: ${folder})`,
      json: summary,
    };
  },
});
