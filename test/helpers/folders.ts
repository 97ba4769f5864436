// Temporary folders and the places test data lies in.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Golden data in the repository. */
export const GOLDEN = path.join(__dirname, '..', 'data', 'golden');

/** Larger golden data beside the repository (DIFFMINE_SHARED), or undefined if it is not. */
export function sharedGolden(): string | undefined {
  const folder = path.join(process.env.DIFFMINE_SHARED ?? path.join(__dirname, '..', '..', '..', 'shared'), 'golden');
  return existsSync(folder) ? folder : undefined;
}

/** A folder that the calling test file's end removes. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'diffmine-test-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Files of a page's folder that name a path of this machine's temporary folder or of the repository: pages may be published. */
export function filesWithPaths(page: string): string[] {
  const machine = [tmpdir(), path.resolve(__dirname, '..', '..')];
  const files = readdirSync(page, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.(html|js|css)$/.test(name),
  );
  expect(files.length).toBeGreaterThan(0);
  return files.filter((name) => {
    const text = readFileSync(path.join(page, name), 'utf8');
    return machine.some((one) => text.includes(one));
  });
}

/** Writes files, making their folders. */
export function writeFiles(root: string, files: Record<string, string | Uint8Array>): void {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(root, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
}
