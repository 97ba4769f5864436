// completion: prints a script that completes commands and options in a shell.
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { command, SHELLS } from '../command.js';

export const completionCommand = command({
  options: optionsOf('completion', {
    shell: option(fields.oneOf(SHELLS), { group: 'Input', description: 'Shell to complete in' }),
  }),
  examples: [
    ['source <(diffmine completion bash)', 'In this shell; add the line to ~/.bashrc for all'],
    ['source <(diffmine completion zsh)', 'The same for zsh, after compinit in ~/.zshrc'],
    ['diffmine completion fish > ~/.config/fish/completions/diffmine.fish', 'For fish'],
  ],
  async handle({ shell }, { output, completion }) {
    const script = await completion(shell);
    if (output.json) return { text: '', json: { shell, script } };
    await output.raw(script);
    return undefined;
  },
});
