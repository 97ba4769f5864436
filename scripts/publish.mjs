// Publishes the tarballs of a release: platform packages first, so that diffmine finds them as soon as it is there.
//   node scripts/publish.mjs FOLDER [--registry URL] [--provenance] [--dry-run]
// Run it again after a failure: versions that the registry has are skipped. Pre-releases (1.0.0-rc.1) get the dist-tag `next`.
import fs from 'node:fs';
import path from 'node:path';
import { fail, isMain, lastLines, optionsOf, root, run, say, SetupError } from './steps.mjs';

const NPM = 'https://registry.npmjs.org/';

async function manifestOf(tarball) {
  const { code, stdout } = await run('tar', ['xOf', tarball, 'package/package.json']);
  if (code !== 0) throw new SetupError(`${tarball} is not a package.`);
  return JSON.parse(stdout);
}

/**
 * @param folder holds the tarballs of one version
 * @returns names that were published, in order
 */
export async function publish(folder, { registry = NPM, provenance = false, dryRun = false } = {}) {
  const files = fs
    .readdirSync(folder)
    .filter((name) => name.endsWith('.tgz'))
    .sort();
  const packages = await Promise.all(
    files.map(async (name) => {
      const file = path.join(path.resolve(folder), name);
      return { file, about: await manifestOf(file) };
    }),
  );
  const main = packages.find(({ about }) => about.name === 'diffmine')?.about;
  if (!main) throw new SetupError(`${folder} has no tarball of diffmine.`, 'Pack it: node scripts/pack.mjs main');
  const other = packages.find(({ about }) => about.version !== main.version);
  if (other)
    throw new SetupError(
      `${folder} has ${main.name} ${main.version}, but ${other.about.name} ${other.about.version}.`,
      'Pack all of one version into an empty folder.',
    );
  if (provenance && !main.repository)
    throw new SetupError(
      'Provenance needs the repository in package.json.',
      'Add "repository": the URL of the repository that this workflow runs in.',
    );
  const has = async ({ name, version }) => {
    const answer = await fetch(new URL(name.replace('/', '%2f'), registry)).catch((error) => {
      throw new SetupError(`Cannot reach ${registry}: ${error.cause?.message ?? error.message}`);
    });
    if (answer.status === 404) return false;
    if (!answer.ok) throw new SetupError(`${registry} answers ${answer.status} for ${name}.`);
    return Object.hasOwn((await answer.json()).versions ?? {}, version);
  };
  const needed = Object.keys(main.optionalDependencies ?? {}).filter((name) => name.startsWith('@diffmine/'));
  for (const name of needed) {
    if (packages.some(({ about }) => about.name === name) || (await has({ name, version: main.version }))) continue;
    throw new SetupError(
      `diffmine asks for ${name} ${main.version}, which is neither in ${folder} nor published.`,
      `Pack it, or pack diffmine without it: node scripts/pack.mjs main --platforms NAME,...`,
    );
  }
  const published = [];
  for (const { file, about } of packages.sort((a, b) => Number(a.about === main) - Number(b.about === main))) {
    const title = `${about.name}@${about.version}`;
    if (await has(about)) {
      say(`${title} is published already`);
      continue;
    }
    const tag = about.version.includes('-') ? 'next' : 'latest';
    const flags = [...(provenance ? ['--provenance'] : []), ...(dryRun ? ['--dry-run'] : [])];
    const { code, output } = await run(
      'npm',
      ['publish', file, `--registry=${registry}`, '--access=public', `--tag=${tag}`, ...flags],
      { cwd: path.resolve(folder) }, // outside the clone, whose package.json npm would look at
    );
    if (code !== 0) throw new SetupError(`Cannot publish ${title}:\n${lastLines(output, 8)}`);
    say(`${dryRun ? 'would publish' : 'published'} ${title} as ${tag}`);
    published.push(about.name);
  }
  return published;
}

async function main() {
  const options = optionsOf(
    { registry: { type: 'string' }, provenance: { type: 'boolean' }, 'dry-run': { type: 'boolean' } },
    ['FOLDER'],
  );
  const folder = options.places[0] ?? path.join(root, 'packages');
  await publish(folder, { registry: options.registry, provenance: options.provenance, dryRun: options['dry-run'] });
}

if (isMain(import.meta.url)) main().catch(fail);
