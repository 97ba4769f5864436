// The floors of src/ (docs/contributing/architecture.md), from the top: cli, tools, stages, pipeline, models, runs, data, engine.
// options, web, metrics and util are ground: every floor may import them. Type imports count.
const floors = ['cli', 'tools', 'stages', 'pipeline', 'models', 'runs', 'data', 'engine'];
const folder = (...names) => `^src/(${names.join('|')})/`;

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      comment: 'Move what both need below both.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    ...floors.slice(1).map((floor, i) => ({
      name: `${floor}-imports-downward`,
      comment: 'A floor imports only floors below it.',
      severity: 'error',
      from: { path: folder(floor) },
      to: { path: folder(...floors.slice(0, i + 1)) },
    })),
    {
      name: 'ground-imports-ground',
      severity: 'error',
      from: { path: folder('options', 'web', 'metrics', 'util') },
      to: { path: folder(...floors) },
    },
    {
      name: 'util-imports-nothing',
      severity: 'error',
      from: { path: folder('util') },
      to: { path: '^src/', pathNot: folder('util') },
    },
    {
      name: 'stages-are-apart',
      comment: 'A stage does not import the inside of another stage: what two stages need lives below both.',
      severity: 'error',
      from: { path: '^src/stages/([^/]+)/' },
      // stages/X/X.ts is what stage X offers, stages/X/options.ts its types
      to: { path: '^src/stages/', pathNot: ['^src/stages/$1/', '^src/stages/([^/]+)/(\\1|options)[.]ts$'] },
    },
    {
      name: 'entry-points-are-for-users',
      comment: 'Code inside the package imports modules, not the public entry points.',
      severity: 'error',
      from: { path: '^src/.+/' },
      to: { path: '^src/[^/]+$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    includeOnly: '^src/',
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'default'] },
  },
};
