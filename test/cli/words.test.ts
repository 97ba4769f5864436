// Words: pages, help texts and messages say one thing with one word, the field's own.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { COMMON, flagsOf, type Optioned } from '../../src/cli/options.js';
import { COMMANDS } from '../helpers/commands.js';
import { PAGES, readPage } from '../helpers/pages.js';
import { ROOT } from './cli.js';

/** What to avoid, and what to say. */
const WORDS: [RegExp, string][] = [
  [/\bpictures?\b/i, 'image'],
  [/\bdata sets?\b/i, 'dataset'],
  [/\bcolour/i, 'color'],
  [/\bneighbour/i, 'neighbor'],
  [/\b(grey|centre[sd]?|licence|behaviour|favour\w*|honour\w*|labelled|labelling)\b/i, 'US spelling'],
  [/\w(normali|recogni|optimi|locali|summari|initiali|reali|generali)s(e|ed|es|ing|ation)\b/i, 'US spelling: -ize'],
  [/\bnormalis|\brecognis|\boptimis|\blocalis/i, 'US spelling: -ize'],
  [/\banew\b/i, 'again'],
  [/\bpass(ed|es)? over\b/i, 'skip, ignore'],
  [/\b(go|goes|going|gone|went) on\b/i, 'resume, continue'],
  [/\btak(e|es|en) up again\b/i, 'resume'],
  [/\bfrom nothing\b/i, 'from scratch'],
  [/\bout of nothing\b/i, 'from scratch'],
  [/\bpeers?\b/i, 'baseline, diffusers'],
  [/\blevers?\b/i, 'optimization'],
  [/--without\b/, '--disable'],
  [/\bhost cache\b/i, 'CPU caching allocator'],
  [/\b(CPU|float64-checked) twins?\b/i, 'CPU implementation'],
  [/\bsettle[sd]?\b/i, 'resolve'],
  [/\bslabs?\b/i, 'tile'],
  [/\bmend(ed|s|ing)?\b/i, 'fix'],
  [/(?<!sprite |@param )\b[Ss]heets?\b(?!")/, 'image grid; sprite sheet'],
  [/\bshares? of\b/i, 'fraction of, utilization'],
  [/\bevaluations? (a|per) (second|pass|image|forward)/i, 'UNet calls'],
  [/\bUNet evaluations?\b|\bevaluations? of the UNet\b/i, 'UNet calls'],
  [/\b(an?|the) evaluation of a UNet\b/i, 'UNet call'],
  [/\b(steps|calls|images|patches|operations|tokens|samples|iterations) a second\b/i, 'per second'],
  [
    /\b(seconds|images|patches|clusters|samples|draws|row|folder|column|page|line|pass|process) an? (image|label|shard|picture|step|city|pass|card|device|cluster|country|decade)\b/i,
    'per',
  ],
  [/\bis no valid\b/i, 'is not valid'],
  [/\bbug of\b/i, 'bug in'],
  [/\b(small|planted) world\b/i, 'synthetic dataset with ground truth; planted elements'],
  [/\bnot yet seen\b/i, 'not measured on a GPU'],
  [/\bcry wolf\b/i, 'few false alarms'],
  [/\blearnt\b/i, 'learned'],
  [/\bat hand\b/i, 'current, available'],
  [/\bcourse of\b/i, 'schedule'],
  [/\bthe like\b|\blikewise told\b/i, 'plain words'],
  [/\b(is|are|as) no (multiple|regular|RGB|low-rank|JSON|whole)\b/i, 'is not a'],
  [/\b(of|in|with) one (size|shape)\b/i, 'of the same size, shape'],
  [/\bmatrix[- ]products?\b/i, 'matmul'],
  [/\bless the \w+'s own\b|\bwhat (it|they) (is|are) of\b|\bgiven by (its )?place\b/i, 'plain words'],
  [/\bof no (more|other) use\b|\bof use no more\b/i, 'no longer used'],
  [/\b(knows?|says?) nothing\b|\bnothing says\b/i, 'does not know, is missing'],
  [/\bknows? no \w+/i, 'does not have'],
  [/\bmeans? (nothing|something)\b/i, 'has no effect, applies to'],
  [/\bleads? nowhere\b|\blinks? to nothing\b/i, 'dangling link'],
  [/\bdealt out\b|\bfor want of\b|\bcarried along\b|\bthat is none\b/i, 'plain words'],
  [/\bcan(not)? be told from\b|\bsay(s)? different things\b/i, 'plain words'],
  [/\b(is|are|be) done again\b/i, 'repeated'],
  [/\b(is|are) of (an? |the )?(images?|labels?|run)\b/i, 'belongs to, is for'],
];

/** Code, links and quoted names are left out of pages: they are spelled as the code spells them. */
const prose = (markdown: string): string =>
  markdown
    .replace(/```[\s\S]*?```/g, '')
    .replace(/`[^`\n]*`/g, '`...`')
    .replace(/\]\([^)]*\)/g, ']()')
    .replace(/https?:\S+/g, '');

const found = (text: string): string[] =>
  text.split('\n').flatMap((line) =>
    WORDS.flatMap(([pattern, better]) => {
      const match = pattern.exec(line);
      return match ? [`"${match[0]}" (say: ${better}) in: ${line.trim()}`] : [];
    }),
  );

test('the list finds what it is for', () => {
  const said = 'A row a picture: 12 evaluations a second, the share of the data set is passed over, settled anew.';
  expect(found(said)).toHaveLength(8);
  expect(
    found('One row per image: 12 UNet calls per second; the fraction of the dataset is skipped, resolved again.'),
  ).toEqual([]);
});

// The changelog names old options, and the ledger is a list of checks by the names of its steps.
test.each(PAGES.filter((page) => page !== 'CHANGELOG.md'))('%s', (page) => {
  expect(found(prose(readPage(page)))).toEqual([]);
});

const help = (command: Optioned): string =>
  Object.entries(flagsOf(command))
    .map(([name, { help: text, description, group, fallback, choices }]) =>
      [`--${name} ${text}`, description, group, fallback ?? '', ...(choices ?? [])].join('\n'),
    )
    .join('\n');

test.each(COMMANDS.map((one) => [one.name, one] as const))('diffmine %s --help', (_name, command) => {
  const { describe, examples = [] } = command;
  expect(found([describe, ...examples.flat(), help(command)].join('\n'))).toEqual([]);
});

test('the options of every command', () => {
  expect(found(help({ options: COMMON }))).toEqual([]);
});

/** Text literals of a source file that are sentences or parts of them: with a space between two words. */
function sentences(file: string): string[] {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
  const texts: string[] = [];
  const visit = (node: ts.Node): void => {
    const isText =
      ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node) || ts.isTemplateExpression(node);
    if (isText) {
      const text = ts.isTemplateExpression(node)
        ? [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)].join('...')
        : node.text;
      if (/[a-z,.] [a-zA-Z]/.test(text) && !/\bSELECT\b|^use strict$/.test(text)) texts.push(text.replace(/\s+/g, ' '));
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return texts;
}

/** Comments of TypeScript and JavaScript. */
function scriptComments(text: string): string[] {
  const source = ts.createSourceFile('source.ts', text, ts.ScriptTarget.Latest, true);
  const starts = new Map<number, string>();
  const visit = (node: ts.Node): void => {
    const ranges = [
      ...(ts.getLeadingCommentRanges(text, node.getFullStart()) ?? []),
      ...(ts.getTrailingCommentRanges(text, node.getEnd()) ?? []),
    ];
    for (const { pos, end } of ranges) starts.set(pos, text.slice(pos, end));
    node.getChildren().forEach(visit);
  };
  visit(source);
  return [...starts.values()];
}

/** The comments of a source file. */
function comments(file: string): string[] {
  const text = readFileSync(path.join(ROOT, file), 'utf8');
  if (/\.(ts|mjs|js)$/.test(file)) return scriptComments(text);
  if (/\.(cpp|h|cu|cuh)$/.test(file)) return text.match(/\/\/ .*/g) ?? [];
  if (file.endsWith('.css')) return text.match(/\/\*[\s\S]*?\*\//g) ?? [];
  return text.match(/(?<=^|\s)# .*/gm) ?? []; // Python and shell
}

const COMMENTED = ['src', 'scripts', 'test', 'examples', 'cpp', 'binding'].flatMap((folder) =>
  readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(folder, name))
    .filter((name) => /\.(ts|mjs|js|cpp|h|cu|cuh|css|py|sh)$/.test(name) && !name.includes('node_modules'))
    .filter((name) => name !== path.join('test', 'cli', 'words.test.ts')),
);

test('comments', () => {
  const wrong = COMMENTED.flatMap((file) =>
    comments(file)
      .flatMap(found)
      .map((one) => `${file}: ${one}`),
  );
  expect(COMMENTED.length).toBeGreaterThan(600);
  expect(wrong).toEqual([]);
});

/** The titles of tests in a file. */
function titles(file: string): string[] {
  const source = ts.createSourceFile(file, readFileSync(path.join(ROOT, file), 'utf8'), ts.ScriptTarget.Latest, true);
  const all: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && /^(test|it|describe)\b/.test(node.expression.getText()))
      all.push(
        ...node.arguments
          .slice(0, 1)
          .filter(ts.isStringLiteralLike)
          .map(({ text }) => text),
      );
    ts.forEachChild(node, visit);
  };
  visit(source);
  return all;
}

test('titles of tests', () => {
  const all = COMMENTED.filter((file) => file.endsWith('.test.ts')).flatMap(titles);
  expect(all.length).toBeGreaterThan(1000);
  expect(all.flatMap(found)).toEqual([]);
});

test('names of test cases', () => {
  const cases = readdirSync(path.join(ROOT, 'test/cases')).map((name) => name.replaceAll('-', ' '));
  expect(cases.flatMap(found)).toEqual([]);
});

const sources = readdirSync(path.join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .sort();

test.each(sources)('messages of src/%s', (name) => {
  expect(sentences(path.join(ROOT, 'src', name)).flatMap(found)).toEqual([]);
});
