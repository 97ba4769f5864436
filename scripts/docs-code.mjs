// Code on the pages comes from marked regions of files that tests run. A region lies between `// #region NAME` and `// #endregion` (Python: `# region NAME`
// and `# endregion`), and a page shows it in the block of code that follows `<!-- from FILE#NAME -->`.
import fs from 'node:fs';
import path from 'node:path';
import { root, SetupError } from './steps.mjs';

/** Languages whose blocks must come from a region, by what a block calls them. */
const LANGUAGES = ['ts', 'typescript', 'js', 'javascript', 'mjs', 'python', 'py', 'sql'];

/** Blocks that come from no region: the page, a line of the block, and why. */
const EXCEPTIONS = [
  {
    page: 'docs/guides/exporting.md',
    line: 'import fiftyone as fo',
    reason: 'FiftyOne brings a database server; test/unit/export-annotations.test.ts checks the files that it reads',
  },
];

/** Pages people write, relative to the root; typedoc writes the API reference. */
function pages() {
  const docs = fs.readdirSync(path.join(root, 'docs'), { recursive: true }).map((name) => path.join('docs', name));
  return ['README.md', 'CONTRIBUTING.md', 'demo/README.md', 'demo/model/README.md', 'examples/README.md', ...docs]
    .filter((name) => name.endsWith('.md') && !name.startsWith(path.join('docs', 'reference', 'api')))
    .sort();
}

const START = /^\s*(?:\/\/|#|--) ?#?region (\S+)\s*$/;
const END = /^\s*(?:\/\/|#|--) ?#?endregion\b/;

/** The lines of a region, without the indentation that they share. @throws SetupError if there is not one region of that name, or it has no end */
export function regionOf(text, name, file) {
  const lines = text.split('\n');
  const starts = lines.flatMap((line, i) => (START.exec(line)?.[1] === name ? [i] : []));
  if (starts.length !== 1)
    throw new SetupError(`${file} has ${starts.length === 0 ? 'no region' : `${starts.length} regions`} ${name}.`);
  const begin = starts[0] + 1;
  const length = lines.slice(begin).findIndex((line) => END.test(line));
  if (length < 0) throw new SetupError(`The region ${name} of ${file} has no end.`);
  const inside = lines.slice(begin, begin + length);
  const indents = inside.filter((line) => line.trim() !== '').map((line) => /^ */.exec(line)[0].length);
  return inside.map((line) => line.slice(Math.min(...indents))).join('\n');
}

const BLOCK = /(?:<!-- from (\S+)#(\S+) -->\n+)?^```([\w-]*)\n([\s\S]*?)^```$/gm;

/** A page with the code of its regions. @throws SetupError for a block that comes from nowhere */
export function withRegions(page, text, read = (file) => fs.readFileSync(path.join(root, file), 'utf8')) {
  return text.replace(BLOCK, (block, file, name, language, code) => {
    if (file !== undefined) {
      const region = regionOf(read(file), name, file);
      return `<!-- from ${file}#${name} -->\n\n\`\`\`${language}\n${region}\n\`\`\``;
    }
    const lines = code.split('\n').filter((line) => line.trim() !== '');
    const excepted = EXCEPTIONS.some((one) => one.page === page && lines.includes(one.line));
    if (LANGUAGES.includes(language) && lines.length > 1 && !excepted)
      throw new SetupError(
        `${page} has code that no test runs: ${lines[0]}`,
        'Put it into a region of a file that tests run, and <!-- from FILE#REGION --> above the block (docs/contributing/development.md).',
      );
    return block;
  });
}

/** Pages with their text as it must be, by path relative to the root. */
export function codePages() {
  return Object.fromEntries(
    pages().map((page) => [page, withRegions(page, fs.readFileSync(path.join(root, page), 'utf8'))]),
  );
}
