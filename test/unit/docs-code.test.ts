// Marked regions on the pages (scripts/docs-code.mjs).
import { codePages, regionOf, withRegions } from '../../scripts/docs-code.mjs';

const SOURCE = ['first();', '  // #region one', '  a();', '', '    b();', '  // #endregion', 'last();'].join('\n');
const block = (language: string, ...lines: string[]): string => `\`\`\`${language}\n${lines.join('\n')}\n\`\`\``;
const read = (): string => SOURCE;

test('a region is what lies between its marks, without common indentation', () => {
  expect(regionOf(SOURCE, 'one', 'x.ts')).toBe('a();\n\n  b();');
  expect(regionOf('# region one\nimport a\n# endregion\n', 'one', 'x.py')).toBe('import a');
});

test.each([
  ['no region', SOURCE, 'two'],
  ['2 regions', `${SOURCE}\n${SOURCE}`, 'one'],
  ['no end', '// #region one\na();', 'one'],
])('%s: an error', (what, text, name) => {
  expect(() => regionOf(text, name, 'x.ts')).toThrow(what);
});

test('a block after a mark is the region; others stay', () => {
  const shell = block('sh', 'diffmine doctor', 'diffmine demo');
  const stale = `text\n\n<!-- from x.ts#one -->\n\n${block('ts', 'old();')}\n\n${shell}\n`;
  const fresh = `text\n\n<!-- from x.ts#one -->\n\n${block('ts', 'a();', '', '  b();')}\n\n${shell}\n`;
  expect(withRegions('docs/page.md', stale, read)).toBe(fresh);
  expect(withRegions('docs/page.md', fresh, read)).toBe(fresh);
});

test.each(['ts', 'js', 'python', 'sql'])(
  'code in %s that comes from no region is refused, a line alone is not',
  (language) => {
    expect(() => withRegions('docs/page.md', `${block(language, 'a()', 'b()')}\n`, read)).toThrow(
      'docs/page.md has code that no test runs: a()',
    );
    expect(withRegions('docs/page.md', `${block(language, 'a()')}\n`, read)).toContain('a()');
  },
);

test('an exception holds for its page alone', () => {
  const text = `${block('python', 'import fiftyone as fo', 'fo.launch_app()')}\n`;
  expect(withRegions('docs/guides/exporting.md', text, read)).toBe(text);
  expect(() => withRegions('README.md', text, read)).toThrow('no test runs');
});

test('the pages with code are looked at', () => {
  const pages = codePages() as Record<string, string>;
  expect(Object.values(pages).filter((text) => text.includes('<!-- from test/docs/')).length).toBeGreaterThanOrEqual(4);
});
