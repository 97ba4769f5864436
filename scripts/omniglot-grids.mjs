// Draws a dataset with known boxes from real handwriting: grids of 2 x 2 characters, of which one or two are of the grid's alphabet and the others of
// alphabets that every label has. What is typical of a label is where its own characters are (docs/results/estimator.md).
//   node scripts/omniglot-grids.mjs OMNIGLOT OUT [--per-label 300] [--seed 0]
// OMNIGLOT: a folder of alphabets with images whose names end in _DRAWER (01 to 20). Grids of OUT/heldout have drawers that OUT/train has none of.
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { fail, say } from './steps.mjs';

const LABELS = ['Balinese', 'Early_Aramaic', 'Japanese_katakana', 'Sanskrit', 'Tagalog'];
const SHARED = ['Greek', 'Korean', 'Latin'];
const CELL = 32;
const FIRST_HELDOUT_DRAWER = 17;

/** mulberry32: the same grids for a seed on every machine. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { 'per-label': { type: 'string', default: '300' }, seed: { type: 'string', default: '0' } },
  });
  const [from, out] = positionals;
  if (!from || !out)
    throw new Error('Usage: node scripts/omniglot-grids.mjs OMNIGLOT OUT [--per-label 300] [--seed 0]');
  const random = generator(Number(values.seed));
  const pick = (list) => list[Math.floor(random() * list.length)];
  const files = (alphabet, heldout) =>
    fs
      .readdirSync(path.join(from, alphabet))
      .sort()
      .filter((name) => Number(/_(\d+)\.\w+$/.exec(name)?.[1]) >= FIRST_HELDOUT_DRAWER === heldout)
      .map((name) => path.join(from, alphabet, name));
  const boxes = ['image,label,x,y,w,h'];
  for (const [part, heldout, fraction] of [
    ['train', false, 0.8],
    ['heldout', true, 0.2],
  ]) {
    const shared = SHARED.flatMap((alphabet) => files(alphabet, heldout));
    for (const label of LABELS) {
      const own = files(label, heldout);
      fs.mkdirSync(path.join(out, part, label), { recursive: true });
      const count = Math.round(fraction * Number(values['per-label']));
      for (let i = 0; i < count; i++) {
        const cells = [0, 1, 2, 3];
        const typical = Array.from(
          { length: 1 + Math.floor(random() * 2) },
          () => cells.splice(Math.floor(random() * cells.length), 1)[0],
        );
        const parts = await Promise.all(
          [0, 1, 2, 3].map(async (cell) => ({
            input: await sharp(typical.includes(cell) ? pick(own) : pick(shared))
              .resize(CELL, CELL)
              .toBuffer(),
            left: (cell % 2) * CELL,
            top: Math.floor(cell / 2) * CELL,
          })),
        );
        const name = `${String(i).padStart(4, '0')}.png`;
        await sharp({ create: { width: 2 * CELL, height: 2 * CELL, channels: 3, background: 'white' } })
          .composite(parts)
          .png()
          .toFile(path.join(out, part, label, name));
        if (heldout)
          for (const cell of typical)
            boxes.push(
              [`${label}/${name}`, label, (cell % 2) * CELL, Math.floor(cell / 2) * CELL, CELL, CELL].join(','),
            );
      }
      say(`${part}/${label}: ${count} grids`);
    }
  }
  fs.writeFileSync(path.join(out, 'boxes.csv'), `${boxes.join('\n')}\n`);
}

main().catch(fail);
