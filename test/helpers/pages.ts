// The project's pages in Markdown, and the command lines on them.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from '../cli/cli.js';

/** Paths of all pages, relative to the repository; without the API reference, which typedoc writes. */
export const PAGES = [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'demo/README.md',
  'examples/README.md',
  'demo/model/README.md',
  ...readdirSync(path.join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md') && !name.startsWith(path.join('reference', 'api')))
    .sort()
    .map((name) => path.join('docs', name)),
];

export const readPage = (name: string): string => readFileSync(path.join(ROOT, name), 'utf8');

/** The lines of a page's shell blocks, without comments; lines that end in a backslash are joined with the next. */
export function shellLines(text: string): string[] {
  return [...text.matchAll(/```sh\n([\s\S]*?)```/g)]
    .flatMap(([, block]) => (block ?? '').replace(/\\\n\s*/g, '').split('\n'))
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '');
}
