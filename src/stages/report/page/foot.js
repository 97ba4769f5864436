// The end of the page: the run's options, what became of its images, versions, and the method's source.
/* global diffmine */
'use strict';

diffmine.foot = (() => {
  const { $, h, count } = diffmine.tools;

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
  const words = (name) =>
    NAMES[name] ?? name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`).replace(/^./, (c) => c.toUpperCase());
  const said = (value) =>
    value === null || value === undefined || value === ''
      ? 'none'
      : value === true
        ? 'yes'
        : value === false
          ? 'no'
          : typeof value === 'object'
            ? JSON.stringify(value)
            : String(value);

  function settingsList(entries) {
    return h(
      'dl',
      { class: 'settings' },
      ...entries.map(([name, value]) =>
        h('div', { class: said(value).length > 34 ? 'wide' : null }, h('dt', null, name), h('dd', null, said(value))),
      ),
    );
  }

  function excluded({ count: total, shown }, summary, file) {
    if (total === 0) return null;
    return h(
      'details',
      null,
      h('summary', null, summary),
      h(
        'ul',
        { class: 'list', tabindex: '0', 'aria-label': summary },
        ...shown.map(({ image, reason }) => h('li', null, h('b', null, image), `: ${reason}`)),
        total > shown.length
          ? h('li', null, `and ${(total - shown.length).toLocaleString('en')} more${file ? `; see ${file}` : ''}`)
          : null,
      ),
    );
  }

  return function showFoot(run) {
    const { dataset, model, options, mine, skipped, missing, maps, words: texts } = run;
    const apart = ['maps', 'tBegin', 'tEnd', 'against'];
    const entries = (object) =>
      Object.entries(object ?? {})
        .filter(([name]) => !apart.includes(name))
        .map(([name, value]) => [words(name), value]);
    const section = (title, ...children) => h('section', null, h('h2', null, title), ...children);
    $('foot').replaceChildren(
      section(
        'Scan',
        settingsList([
          ...(run.preset ? [['Preset', run.preset]] : []),
          ...entries(options),
          ['Compared with', texts.comparedWith],
          ['Timesteps', texts.timesteps],
          ['Typicality maps', maps.kept ? 'kept' : 'not kept'],
        ]),
      ),
      section('Mining', settingsList(entries(mine)), ...run.notes.map((note) => h('p', null, note))),
      section(
        'Images',
        settingsList([
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
        settingsList([
          ['diffmine', run.version],
          ['Run format', run.format],
          ['Scan started', run.created],
          ['Model', model.path],
          ['Dataset', dataset.path],
          ['Run fingerprint', run.fingerprint],
          ['Model fingerprint', model.fingerprint],
          ['Dataset fingerprint', dataset.fingerprint],
        ]),
      ),
      section(
        'Method',
        h(
          'p',
          null,
          'Ioannis Siglidis, Aleksander Holynski, Alexei A. Efros, Mathieu Aubry, Shiry Ginosar: Diffusion Models as Data Mining Tools. ECCV 2024, arXiv 2408.02752.',
        ),
        h('p', null, texts.standardErrors),
      ),
    );
  };
})();
