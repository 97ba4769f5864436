// Exports findings to annotation tools: patches and clusters as boxes, heat maps as masks or as PNG.
import { writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import sharp from 'sharp';
import { writeFileAtomic } from '../../runs/atomic.js';
import { safeNames } from '../../runs/names.js';
import { Run } from '../../runs/run.js';
import { withLocalRun, withoutMaps } from '../../runs/store/copy.js';
import type { Row } from '../../runs/tables.js';
import { DiffmineError } from '../../util/errors.js';
import { toCsv } from './csv.js';
import { maskFindings, patchFindings } from './findings.js';
import { writeNewFolder } from './folder.js';
import { FORMATS } from './formats/index.js';
import { HeatMaps, type HeatMap } from './heat.js';
import type { AnnotationFormat, AnnotationTable } from './options.js';
import type { Selection } from './rows.js';
import { makeFolder } from '../../util/paths.js';

export interface AnnotationOptions extends Selection {
  run: string;
  table: AnnotationTable;
  format: AnnotationFormat | 'png';
  /** a file or a new folder, as the format has it; of a format of one file, a stream as well */
  out: string | Writable;
  /** of maps: minimum typicality of the pixels inside a mask; default half of the label's color scale in the report */
  threshold?: number | undefined;
  /** where the dataset is now */
  dataset?: string | undefined;
}

export interface AnnotationSummary {
  /** boxes or masks; PNGs */
  findings: number;
  images: number;
}

/**
 * Writes findings for other tools.
 *
 * @throws RUN_INVALID if the run is not mined, or has no maps; INVALID_ARGUMENT for an unknown label or list, a format that has no masks, or a folder
 * that is not empty
 */
export async function exportAnnotations(options: AnnotationOptions): Promise<AnnotationSummary> {
  const local = { ...(options.table === 'maps' ? {} : { reads: withoutMaps }), makes: [], lock: '' };
  return withLocalRun(options.run, {}, local, async (run) => exportFrom({ ...options, run }));
}

async function exportFrom(options: AnnotationOptions): Promise<AnnotationSummary> {
  const { run: path, table, format, out, threshold, dataset, ...selection } = options;
  if (table === 'maps' && selection.list !== undefined)
    throw new DiffmineError('INVALID_ARGUMENT', '`list` does not apply to the table maps.', 'Leave it out.');
  const run = await Run.open(path);
  if (format === 'png') {
    if (table !== 'maps')
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `PNG is a format of the table maps, not of ${table}.`,
        'To cut patches from their images, use `crops`.',
      );
    return writePngs(run, await HeatMaps.of(run, selection), textOf(out, format));
  }
  const { isFolder, masks, files } = FORMATS[format];
  if (table === 'maps' && !masks)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The format ${format} has no masks.`,
      'Export maps as coco, datumaro or png.',
    );
  const found =
    table === 'maps'
      ? await maskFindings(run, withThreshold(await HeatMaps.of(run, selection), threshold), selection, dataset)
      : await patchFindings(run, table, selection, dataset);
  if (isFolder) {
    await writeNewFolder(textOf(out, format), 'out', async (folder) => {
      for (const [name, text] of files(found)) {
        await makeFolder(join(folder, dirname(name)));
        await writeFile(join(folder, name), text);
      }
    });
  } else {
    for (const [, text] of files(found)) {
      if (typeof out === 'string') await writeFileAtomic(resolve(out), text);
      else await new Promise<void>((done, reject) => out.write(text, (error) => (error ? reject(error) : done())));
    }
  }
  return { findings: found.findings.length, images: found.images.length };
}

function textOf(out: string | Writable, format: string): string {
  if (typeof out === 'string') return out;
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `The format ${format} is a folder of files.`,
    'Name a new one with `out`.',
  );
}

async function* withThreshold(
  maps: HeatMaps,
  threshold: number | undefined,
): AsyncGenerator<HeatMap & { threshold: number }> {
  for await (const map of maps) {
    const half = (maps.scales.get(map.condition) ?? 0) / 2;
    // a label without any strength has no typical pixels
    yield { ...map, threshold: threshold ?? (half > 0 ? half : Infinity) };
  }
}

/** Gray of typicality 0, and gray levels up to the label's scale. */
const ZERO = 32768;
const LEVELS = 32767;

/** 16-bit gray: (gray - 32768) / 32767 x scale is the typicality, clipped at the label's scale. */
async function writePngs(run: Run, maps: HeatMaps, out: string): Promise<AnnotationSummary> {
  const folders = safeNames(run.manifest.conditions, ['index.csv']);
  const rows: Row[] = [];
  await writeNewFolder(out, 'out', async (target) => {
    for await (const { image, condition, width, height, values } of maps) {
      const scale = maps.scales.get(condition) ?? 0;
      const gray = Uint16Array.from(values, (value) =>
        scale > 0 && !Number.isNaN(value) ? ZERO + Math.round(LEVELS * Math.max(-1, Math.min(1, value / scale))) : ZERO,
      );
      const folder = folders.get(condition) as string;
      const file = `${folder}/${String(rows.length + 1).padStart(6, '0')}.png`;
      await makeFolder(join(target, folder));
      const png = await sharp(gray, { raw: { width, height, channels: 1 } })
        .toColourspace('grey16')
        .png()
        .toBuffer();
      await writeFile(join(target, file), png);
      rows.push({ file, image, condition, width, height, scale });
    }
    await writeFile(
      join(target, 'index.csv'),
      toCsv(rows, [
        ['file', 'STRING'],
        ['image', 'STRING'],
        ['condition', 'STRING'],
        ['width', 'INT32'],
        ['height', 'INT32'],
        ['scale', 'DOUBLE'],
      ]),
    );
  });
  return { findings: rows.length, images: new Set(rows.map(({ image }) => image)).size };
}
