// ESLint on all files and the types of the tests, from one TypeScript program: building it twice would take half a minute more.
//   node scripts/lint.mjs
// The types of src/ alone were checked when set-up compiled it (scripts/packages.mjs).
import path from 'node:path';
import { fail, optionsOf, root } from './steps.mjs';

async function main() {
  optionsOf();
  // after the options: packages are not needed to refuse one
  const [{ ESLint }, { default: ts }] = await Promise.all([import('eslint'), import('typescript')]);
  const text = (diagnostics) =>
    ts.formatDiagnostics(diagnostics, {
      getCurrentDirectory: () => root,
      getCanonicalFileName: (name) => name,
      getNewLine: () => '\n',
    });
  const config = ts.getParsedCommandLineOfConfigFile(
    path.join(root, 'test/tsconfig.json'),
    {},
    {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic: (one) => {
        throw new Error(text([one]));
      },
    },
  );
  const program = ts.createProgram(config.fileNames, config.options);
  const eslint = new ESLint({
    cwd: root,
    overrideConfig: { files: ['**/*.ts'], languageOptions: { parserOptions: { programs: [program] } } },
  });
  const results = await eslint.lintFiles(['.']);
  const formatter = await eslint.loadFormatter('stylish');
  const types = text([...config.errors, ...ts.getPreEmitDiagnostics(program)]);
  process.stdout.write(`${await formatter.format(results)}${types}`);
  if (types || results.some(({ errorCount, warningCount }) => errorCount + warningCount > 0)) process.exitCode = 1;
}

main().catch(fail);
