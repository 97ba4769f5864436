// The text of a release: the section of a version in CHANGELOG.md.
//   node scripts/release-notes.mjs [--tag vX.Y.Z | --unreleased] [--out FILE]
// Without --tag, of the version in package.json. --tag also checks that the tag is that version. Without --out, prints it.
import fs from 'node:fs';
import path from 'node:path';
import { fail, isMain, optionsOf, readJson, root, say, SetupError } from './steps.mjs';

/**
 * The section below `## NAME`, or `## NAME - DATE`, without its heading; without headings that have nothing below them.
 * @throws SetupError if there is none, or an empty one
 */
export function sectionOf(changelog, name) {
  const lines = changelog.split(/\r?\n/);
  const isHeading = (line) => /^## /.test(line);
  const start = lines.findIndex(
    (line) =>
      isHeading(line) &&
      line
        .slice(3)
        .split(' ')[0]
        .replace(/^\[|\]$/g, '') === name,
  );
  if (start < 0)
    throw new SetupError(
      `CHANGELOG.md has no section "## ${name}".`,
      'Rename "## Unreleased" to it: docs/contributing/releasing.md',
    );
  const end = lines.findIndex((line, i) => i > start && isHeading(line));
  const section = lines.slice(start + 1, end < 0 ? undefined : end);
  const isEmpty = (part) => part.slice(1).every((line) => line.trim() === '');
  const parts = [];
  for (const line of section) {
    if (parts.length === 0 || line.startsWith('### '))
      parts.push(parts.length === 0 && !line.startsWith('### ') ? ['', line] : [line]);
    else parts.at(-1).push(line);
  }
  const text = parts
    .filter((part) => !isEmpty(part))
    .map((part) => part.join('\n'))
    .join('\n')
    .trim();
  if (text === '') throw new SetupError(`The section "## ${name}" of CHANGELOG.md is empty.`);
  return `${text}\n`;
}

function main() {
  const { tag, unreleased, out } = optionsOf({
    tag: { type: 'string' },
    unreleased: { type: 'boolean' },
    out: { type: 'string' },
  });
  const { version } = readJson(path.join(root, 'package.json'));
  if (tag !== undefined && tag !== `v${version}`)
    throw new SetupError(
      `The tag is ${tag}, but the version in package.json is ${version}.`,
      'Delete the tag, and tag the commit that sets the version.',
    );
  const text = sectionOf(fs.readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8'), unreleased ? 'Unreleased' : version);
  if (out === undefined) process.stdout.write(text);
  else {
    fs.writeFileSync(out, text);
    say(`wrote ${out}`);
  }
}

if (isMain(import.meta.url)) {
  try {
    main();
  } catch (error) {
    fail(error);
  }
}
