// The examples: the notebook's cells on a run, by a Python with DuckDB and pandas; the program on a tiny model. workflows.test.ts checks the workflow.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { hasAddon, ROOT } from '../cli/cli.js';
import { temporaryFolder } from '../helpers/folders.js';
import { drawImages, writeSyntheticRun } from '../helpers/synthetic-run.js';

const folder = temporaryFolder();
const EXAMPLES = join(ROOT, 'examples');

/** DIFFMINE_PYTHON names another Python. */
const python = process.env['DIFFMINE_PYTHON'] ?? 'python3';
const hasTables = spawnSync(python, ['-c', 'import duckdb, pandas']).status === 0;

(hasTables ? test : test.skip)(
  'findings.ipynb runs on a run, and finds what was planted',
  async () => {
    const labels = ['1920', '1950'];
    const dataset = join(folder, 'dataset');
    const images = await drawImages(dataset, labels, (label) => [0, 1, 2, 3].map((i) => `${labels[label]}/${i}.jpg`));
    await writeSyntheticRun(join(folder, 'run'), dataset, images, { labels, maps: false });
    const { cells } = JSON.parse(readFileSync(join(EXAMPLES, 'findings.ipynb'), 'utf8')) as {
      cells: { cell_type: string; source: string[]; outputs?: unknown[] }[];
    };
    const code = cells.filter((cell) => cell.cell_type === 'code');
    expect(code.every(({ outputs }) => outputs?.length === 0)).toBe(true);
    // as Jupyter does: one cell after the other, in one process; the last expression of a cell is its result
    const program = `
import ast, json, sys
scope = {}
results = []
for source in json.load(sys.stdin):
    cell = ast.parse(source)
    last = ast.Expression(cell.body.pop().value) if isinstance(cell.body[-1], ast.Expr) else None
    exec(compile(cell, "cell", "exec"), scope)
    value = eval(compile(last, "cell", "eval"), scope) if last else None
    results.append(json.loads(value.to_json(orient="split")) if hasattr(value, "to_json") else value)
print(json.dumps(results))
`;
    const { stdout, stderr, status } = spawnSync(python, ['-c', program], {
      encoding: 'utf8',
      input: JSON.stringify(code.map(({ source }) => source.join(''))),
      env: { ...process.env, DIFFMINE_RUN: join(folder, 'run') },
    });
    expect([status, status === 0 ? '' : stderr]).toEqual([0, '']);
    const [manifest, perLabel, top, sure, clusters, correlation] = JSON.parse(stdout) as [
      unknown[],
      ...{ data: unknown[]; index: unknown[] }[],
    ];
    expect(manifest).toEqual(['/models/stable-diffusion-v1-5', 100, labels]);
    expect((perLabel as { data: unknown[][] }).data.map((row) => row.slice(0, 2))).toEqual(
      labels.map((one) => [one, 4]),
    );
    const best = (top as { data: unknown[][] }).data;
    expect(best.map(([label, rank]) => [label, rank])).toEqual(
      labels.flatMap((one) => [1, 2, 3].map((rank) => [one, rank])),
    );
    for (const [, , image, x, y] of best) {
      const { hot } = images.find(({ path }) => path === image) as (typeof images)[number];
      expect([x, y]).toEqual([hot.x, hot.y]);
    }
    for (const fraction of sure!.data as number[]) expect(fraction).toBeGreaterThan(0);
    expect((clusters as { data: unknown[] }).data).toHaveLength(8);
    expect(correlation?.index).toEqual(labels);
  },
  120_000,
);

(hasAddon ? test : test.skip)(
  'mine.ts mines a dataset',
  () => {
    const source = readFileSync(join(EXAMPLES, 'mine.ts'), 'utf8');
    const { outputText } = ts.transpileModule(source, {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    });
    mkdirSync(join(folder, 'app', 'node_modules'), { recursive: true });
    symlinkSync(ROOT, join(folder, 'app', 'node_modules', 'diffmine'));
    writeFileSync(join(folder, 'app', 'mine.mjs'), outputText);
    const golden = join(ROOT, 'test', 'data', 'golden');
    const run = (...args: string[]): ReturnType<typeof spawnSync> =>
      spawnSync('node', ['mine.mjs', ...args], { cwd: join(folder, 'app'), encoding: 'utf8' });
    const { status, stdout, stderr } = run(join(golden, 'mini-dataset'), join(golden, 'tiny-sd15'), 'run', '2');
    expect([status, status === 0 ? '' : stderr]).toEqual([0, '']);
    const [header, ...rows] = (stdout as string).trim().split('\n');
    expect(header).toBe('label,rank,image,x,y,width,height,typicality');
    expect(rows.length).toBeGreaterThanOrEqual(6);
    for (const row of rows) expect(row).toMatch(/^[^,]+,[123],[^,]+(,[\d.]+){4},-?[\d.e-]+$/);
    expect(readFileSync(join(folder, 'app', 'run', 'report', 'index.html'), 'utf8')).toContain('<html');
    const wrong = run(join(folder, 'nothing'), join(golden, 'tiny-sd15'), 'other');
    expect(wrong.status).not.toBe(0);
    expect(wrong.stderr).toContain('nothing');
  },
  120_000,
);
