// The end of the page: the run's options, what became of its pictures, versions, and the method's source.
/* global diffmine */
'use strict';

diffmine.foot = (() => {
  const { $, h, count } = diffmine.tools;

  const NAMES = {
    size: 'Short side, px', sizeRule: 'Long side rounded', patch: 'Patch, px', samples: 'Samples a picture', perImage: 'Patches a picture', batch: 'Batch',
    allLabels: 'Under all labels', against: 'Compared with', shardSize: 'Pictures a shard', replay: 'Replayed noises', top: 'Patches a label', rank: 'Clustered list',
    restarts: 'Starts of k-means', timestep: 'Features at timestep', upBlock: 'Features of up block', ensemble: 'Feature noises',
  };
  const words = (name) => NAMES[name] ?? name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`).replace(/^./, (c) => c.toUpperCase());
  const said = (value) => (value === null || value === undefined || value === '' ? 'none' : value === true ? 'yes' : value === false ? 'no' : typeof value === 'object' ? JSON.stringify(value) : String(value));

  function sheet(entries) {
    return h('dl', { class: 'sheet' }, ...entries.map(([name, value]) => h('div', { class: said(value).length > 34 ? 'wide' : null }, h('dt', null, name), h('dd', null, said(value)))));
  }

  function excluded({ count: total, shown }, summary) {
    if (total === 0) return null;
    return h('details', null, h('summary', null, summary),
      h('ul', { class: 'list', tabindex: '0', 'aria-label': summary }, ...shown.map(({ image, reason }) => h('li', null, h('b', null, image), `: ${reason}`)),
        total > shown.length ? h('li', null, `and ${(total - shown.length).toLocaleString('en')} more; see skipped.jsonl`) : null));
  }

  return function showFoot(run) {
    const { dataset, model, options, mine, skipped, missing, maps } = run;
    const apart = ['maps', 'tBegin', 'tEnd'];
    const entries = (object) => Object.entries(object ?? {}).filter(([name]) => !apart.includes(name)).map(([name, value]) => [words(name), value]);
    const section = (title, ...children) => h('section', null, h('h2', null, title), ...children);
    $('foot').replaceChildren(
      section('Scan', sheet([...(run.preset ? [['Preset', run.preset]] : []), ...entries(options), ['Timesteps', `${options.tBegin} to ${options.tEnd - 1}`], ['Typicality maps', maps.kept ? 'kept' : 'not kept']])),
      section('Mining', sheet(entries(mine)), ...run.notes.map((note) => h('p', null, note))),
      section('Pictures',
        sheet([['In the data set', dataset.images], ['Labels', dataset.labels], ['Skipped', skipped.count], ['Other files ignored', dataset.ignored], ['With a typicality map here', maps.shown], ['Not found for this report', missing.count]]),
        excluded(skipped, `${count(skipped.count, 'picture')} skipped by the scan`),
        excluded(missing, `${count(missing.count, 'picture')} not found for this report`)),
      section('Where this comes from',
        sheet([['diffmine', run.version], ['Run format', run.format], ['Scan began', run.created], ['Model', model.path], ['Data set', dataset.path],
          ['Run fingerprint', run.fingerprint], ['Model fingerprint', model.fingerprint], ['Data set fingerprint', dataset.fingerprint]])),
      section('Method',
        h('p', null, 'Ioannis Siglidis, Aleksander Holynski, Alexei A. Efros, Mathieu Aubry, Shiry Ginosar: Diffusion Models as Data Mining Tools. ECCV 2024, arXiv 2408.02752.'),
        h('p', null, options.sampler === 'stratified'
          ? 'Standard errors are over the samples of a patch. Timesteps were stratified, so they are upper bounds.'
          : 'Standard errors are over the samples of a patch.')));
  };
})();
