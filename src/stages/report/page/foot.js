// The end of the page: the run's options, what became of its images, versions, and the method's source.
'use strict';

diffmine.foot = (() => {
  const { $, h, count } = diffmine.tools;
  const { words, list, section, excluded, method } = diffmine.settings;

  const NAMES = {
    size: 'Short side, px',
    sizeRule: 'Long side rounding',
    patch: 'Patch, px',
    samples: 'Samples per image',
    perImage: 'Patches per image and list',
    othersPerSample: 'Other labels per sample',
    tWeights: 'Sample weights by timestep',
    batch: 'Batch',
    nullPrompt: 'Unconditional prompt',
    allLabels: 'All labels per image',
    shardSize: 'Images per shard',
    replay: 'Replayed samples',
    untrained: 'Random weights',
    dtype: 'Dtype',
    top: 'Patches per label and list',
    rank: 'Clustered list',
    clusters: 'Clusters per label',
    restarts: 'k-means restarts',
    diftT: 'DIFT timestep',
    upBlock: 'DIFT up block',
    ensemble: 'DIFT noises',
    keepDuplicates: 'Near-duplicates kept',
    minContrast: 'Minimum contrast',
    groupBy: 'Groups of images',
    maxPerGroup: 'Patches per group',
    diverse: 'Diverse ranking',
    recenter: 'Patches moved to the center',
  };

  return function showFoot(run) {
    const { dataset, model, options, mine, skipped, missing, maps, words: texts } = run;
    const apart = ['maps', 'tBegin', 'tEnd', 'against'];
    const entries = (object) =>
      Object.entries(object ?? {})
        .filter(([name]) => !apart.includes(name))
        .map(([name, value]) => [words(name, NAMES), value]);
    $('foot').replaceChildren(
      section(
        'Scan',
        list([
          ...(run.preset ? [['Preset', run.preset]] : []),
          ...entries(options),
          ['Compared with', texts.comparedWith],
          ['Timesteps', texts.timesteps],
          ['Typicality maps', maps.kept ? 'kept' : 'not kept'],
        ]),
      ),
      section('Mining', list(entries(mine)), ...run.notes.map((note) => h('p', null, note))),
      section(
        'Images',
        list([
          ['Images', dataset.images],
          ['Labels in the dataset', dataset.labels],
          ['Skipped', skipped.count],
          ['Other files ignored', dataset.ignored],
          ['Typicality maps in this report', maps.shown],
          ['Not found for this report', missing.count],
        ]),
        excluded(skipped, `${count(skipped.count, 'image')} skipped by the scan`, 'skipped.jsonl'),
        excluded(missing, `${count(missing.count, 'image')} not found for this report`),
      ),
      section(
        'Provenance',
        list([
          ['diffmine', run.version],
          ['Run format', run.format],
          ['Scan started', run.created],
          ['Model', model.name],
          ['Dataset', dataset.name],
          ['Run fingerprint', run.fingerprint],
          ['Model fingerprint', model.fingerprint],
          ['Dataset fingerprint', dataset.fingerprint],
        ]),
      ),
      section('Method', method(), h('p', null, texts.standardErrors)),
    );
  };
})();
