// Writes the files of a report, and sums their sizes by kind.
import { mkdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes by kind of file. Page and sprites are loaded on opening and browsing; images and maps one at a time, on click. */
export interface ReportBytes {
  page: number;
  sprites: number;
  images: number;
  maps: number;
  total: number;
}

export class ReportFolder {
  readonly bytes: ReportBytes = { page: 0, sprites: 0, images: 0, maps: 0, total: 0 };
  private readonly names = new Set<string>();

  constructor(private readonly path: string) {
    for (const name of ['data', 'sprites', 'images', 'maps']) mkdirSync(join(path, name));
  }

  has(name: string): boolean {
    return this.names.has(name);
  }

  /** files in a subfolder */
  count(folder: string): number {
    return [...this.names].filter((name) => name.startsWith(`${folder}/`)).length;
  }

  async write(kind: keyof Omit<ReportBytes, 'total'>, name: string, data: string | Buffer): Promise<void> {
    this.names.add(name);
    await writeFile(join(this.path, name), data);
    const size = typeof data === 'string' ? Buffer.byteLength(data) : data.length;
    this.bytes[kind] += size;
    this.bytes.total += size;
  }
}
