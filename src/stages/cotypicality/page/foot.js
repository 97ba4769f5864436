// The end of the page: how the run was scored and grouped, what was skipped, and where it comes from.
'use strict';

(() => {
  const { $, h, count } = diffmine.tools;
  const { words, list, section, excluded, method } = diffmine.settings;
  const WORDS = {
    sizeRule: 'Long side rounding',
    patch: 'Patch, px',
    samples: 'Samples per image',
    places: 'Places per sequence and list',
    diftT: 'DIFT timestep',
    nullPrompt: 'Unconditional prompt',
    dtype: 'Dtype',
    upBlock: 'DIFT up block',
    ensemble: 'DIFT noises',
    maps: 'Typicality maps',
    shardSize: 'Sequences per shard',
    maxPlaces: 'Max places grouped',
    restarts: 'k-means restarts',
    size: 'Short side, px',
  };

  /** @param run the page's data */
  diffmine.foot = (run) => {
    const { projection, grouping } = run;
    $('foot').replaceChildren(
      section(
        'Scoring',
        list([
          ...(run.preset ? [['Preset', run.preset]] : []),
          ...Object.entries(run.options)
            .filter(([name]) => !['tBegin', 'tEnd'].includes(name))
            .map(([name, value]) => [words(name, WORDS), value]),
          ['Compared with', run.words.comparedWith],
          ['Timesteps', run.words.timesteps],
        ]),
      ),
      section(
        'Grouping',
        list([
          ...Object.entries(grouping)
            .filter(([name]) => name !== 'boxes')
            .map(([name, value]) => [words(name, WORDS), value]),
          ['Projected', `${projection.done}, ${projection.dimensions} dimensions per label`],
        ]),
        ...run.notes.map((note) => h('p', null, note)),
      ),
      section(
        'Sequences',
        list([
          ['In the parallel dataset', run.parallel.sequences],
          ['Labels', run.labels.length],
          ['Skipped', run.skipped.count],
          ['Images not found for this page', run.missing.count],
        ]),
        excluded(run.skipped, `${count(run.skipped.count, 'sequence')} skipped`),
        excluded(run.missing, `${count(run.missing.count, 'image')} not found`),
      ),
      section(
        'Provenance',
        list([
          ['diffmine', run.version],
          ['Run format', run.format],
          ['Started', run.created],
          ['Model', run.model.name],
          ['Parallel dataset', run.parallel.name],
          ['Run fingerprint', run.fingerprint],
        ]),
      ),
      section(
        'Method',
        method('5.1'),
        h(
          'p',
          null,
          'The distance between two labels at a place is the distance between their DIFT features, each normalized to length 1.',
        ),
      ),
    );
  };
})();
