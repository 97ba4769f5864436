// Progress as the command line prints it.
import { Output, table } from '../../src/cli/output.js';

describe('the bar', () => {
  const written: string[] = [];
  const { isTTY, columns } = process.stderr;
  const { TERM, CI } = process.env;

  beforeEach(() => {
    written.length = 0;
    Object.assign(process.stderr, { isTTY: true, columns: 200 });
    process.env['TERM'] = 'xterm';
    delete process.env['CI'];
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(String(text)) > 0);
  });

  afterEach(() => {
    jest.restoreAllMocks();
    Object.assign(process.stderr, { isTTY, columns });
    for (const [name, value] of Object.entries({ TERM, CI })) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  });

  const output = (): Output => new Output({ json: false, quiet: false, verbose: false });

  test('says at 100 % what still runs, instead of a rate and no time left', () => {
    const { progress } = output();
    progress({ type: 'score', done: 5, total: 10, rate: 2, secondsLeft: 2.5 });
    expect(written.at(-1)).toMatch(/ 50 % {2}5\/10 UNet calls {2}2\.0\/s {2}3 s left$/);
    progress({ type: 'score', done: 10, total: 10, rate: 2, secondsLeft: 0 });
    expect(written.at(-1)).toMatch(/ 100 % {2}10\/10 UNet calls {2}writing the shard$/);
    // the first and only event, of a stage without a name
    progress({ type: 'other', done: 1, total: 1 });
    expect(written.at(-1)).toMatch(/ 100 % {2}1\/1 {3}finishing$/);
  });

  test('says what runs between two steps, at once', () => {
    const { progress } = output();
    progress({ type: 'train', done: 5, total: 10, rate: 2, secondsLeft: 2.5, note: 'loss 0.1' });
    progress({ type: 'train', done: 5, total: 10, doing: 'sampling a grid' });
    expect(written.at(-1)).toMatch(/ 50 % {2}5\/10 steps {2}sampling a grid$/);
  });
});

test('a label as long as a caption does not fill the screen', () => {
  const [, , row = ''] = table(['label', 'images'], [['y'.repeat(5000), '1']], [1]).split('\n');
  expect(row).toBe(`${'y'.repeat(77)}...       1`);
});

test('labels with line breaks, marks of direction, accents and wide characters keep the columns', () => {
  const names = ['a\nb', '\u202eabc', 'e\u0301', '\u6771\u4eac', '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}', 'plain'];
  const rows = table(
    ['label', 'images'],
    names.map((name) => [name, '1']),
    [1],
  ).split('\n');
  expect(rows.slice(2)).toEqual([
    'a\\x0ab          1',
    '\\u202eabc       1',
    'e\u0301               1',
    '\u6771\u4eac            1',
    '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}              1',
    'plain           1',
  ]);
});
