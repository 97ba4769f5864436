// Entries of a dataset's folder that are ignored: which, why, and the line that reports them.
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { systemPath } from './names.js';

export type IgnoreReason = 'thumbnails' | 'system' | 'hidden' | 'outputs' | 'notImages' | 'besideLabels' | 'unlisted';

/** Entries left out, by reason. A folder that is left out counts once, whatever it holds. */
export type Ignored = Partial<Record<IgnoreReason, number>>;

const WORDS = {
  thumbnails: ['thumbnail folder or file', 'thumbnail folders or files'],
  system: ['system or trash entry', 'system or trash entries'],
  hidden: ['hidden entry', 'hidden entries'],
  outputs: ['output folder of diffmine', 'output folders of diffmine'],
  notImages: ['file that is not an image', 'files that are not images'],
  besideLabels: ['file beside the label folders', 'files beside the label folders'],
  unlisted: ['file that is not in the lists', 'files that are not in the lists'],
} as const satisfies Record<IgnoreReason, readonly [one: string, many: string]>;

export const totalIgnored = (ignored: Ignored): number => Object.values(ignored).reduce((sum, count) => sum + count, 0);

/** 'Ignored 14 entries: 9 thumbnail folders or files, 3 files that are not images.' Undefined where nothing was. */
export function ignoredSentence(ignored: Ignored): string | undefined {
  const total = totalIgnored(ignored);
  if (total === 0) return undefined;
  const parts = (Object.keys(WORDS) as IgnoreReason[]).flatMap((reason) => {
    const count = ignored[reason] ?? 0;
    return count === 0 ? [] : [`${count} ${WORDS[reason][count === 1 ? 0 : 1]}`];
  });
  return `Ignored ${total} ${total === 1 ? 'entry' : 'entries'}: ${parts.join(', ')}.`;
}

/** Thumbnails and previews that NAS systems, desktops and photo programs leave beside the originals. Lower case. */
const THUMBNAILS = new Set([
  '@eadir',
  '.@__thumb',
  '@__thumb',
  '.thumbnails',
  '.thumbs',
  'thumbs.db',
  'ehthumbs.db',
  'ehthumbs_vista.db',
  '.picasaoriginals',
]);
/** Trash, journals and notes of systems and tools. Lower case. */
const SYSTEM = new Set([
  'lost+found',
  '#recycle',
  '@recycle',
  '@recently-snapshot',
  '#snapshot',
  '@tmp',
  '$recycle.bin',
  'system volume information',
  '__macosx',
  '.appledouble',
  '.ipynb_checkpoints',
  '.git',
  '.svn',
  '.hg',
  'node_modules',
  '__pycache__',
  'desktop.ini',
  '.ds_store',
  '.spotlight-v100',
  '.fseventsd',
  '.temporaryitems',
  '.trashes',
  '.snapshot',
  '.snapshots',
  '.zfs',
  '@synoresource',
  '@sharebin',
  '_gsdata_',
  'recycler',
  'recycled',
  'lost.dir',
  'network trash folder',
  'temporary items',
  'aquota.user',
  'aquota.group',
]);

/** Why an entry of this name is no data wherever it lies; undefined: it may be. */
export function litter(name: string): IgnoreReason | undefined {
  const lower = name.toLowerCase();
  if (THUMBNAILS.has(lower) || lower.startsWith('synophoto_thumb')) return 'thumbnails';
  if (SYSTEM.has(lower) || lower.startsWith('.trash-') || lower.startsWith('._') || /^found\.\d{3}$/.test(lower))
    return 'system';
  return name.startsWith('.') ? 'hidden' : undefined;
}

/** The files by which diffmine's own output folders are known: manifests and records, whose format begins with diffmine-. */
export const OUTPUT_MARKERS = [
  'manifest.json',
  'train.json',
  'samples.json',
  'mine.json',
  'evaluation.json',
  'localize.json',
  'demo.json',
] as const;
/** What `diffmine demo --data-only` makes is data. */
const DATA_FORMATS = ['diffmine-world'];
/** A report by itself has no record; its first script is this. */
const REPORT_SCRIPT = 'data/run.js';

/** Which of diffmine's formats a folder is an output of; undefined: none. @param names of its entries */
export async function outputFormat(folder: string, names: readonly string[]): Promise<string | undefined> {
  for (const marker of OUTPUT_MARKERS) {
    if (!names.includes(marker)) continue;
    const format = /^\s*\{\s*"format"\s*:\s*"(diffmine-[a-z-]+)/.exec(await head(path.join(folder, marker)))?.[1];
    if (format !== undefined && !DATA_FORMATS.some((data) => format.startsWith(data))) return format;
  }
  if (
    names.includes('index.html') &&
    names.includes('data') &&
    /^diffmine\.run\(/.test(await head(path.join(folder, REPORT_SCRIPT)))
  )
    return 'diffmine-report';
  return undefined;
}

/** The first bytes of a file as text; empty if it cannot be read. */
export async function head(file: string, bytes = 1024): Promise<string> {
  const handle = await open(systemPath(file), constants.O_RDONLY | constants.O_NONBLOCK).catch(() => undefined);
  if (!handle) return '';
  try {
    const buffer = Buffer.alloc(bytes);
    const { bytesRead } = await handle.read(buffer, 0, bytes, 0);
    return buffer.toString('latin1', 0, bytesRead).replace(/^\xef\xbb\xbf/, '');
  } catch {
    return '';
  } finally {
    await handle.close();
  }
}
