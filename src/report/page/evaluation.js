// The evaluation, where the run has one: its figures beside those of the controls, pictures beside their maps, and tables by label and element.
/* global diffmine */
'use strict';

(() => {
  const { h, count, signed } = diffmine.tools;

  const number = (value, digits) => (value === null || value === undefined ? '–' : value.toFixed(digits));
  const times = (value) => (value === null || value === undefined ? '–' : `× ${value.toFixed(1)}`);
  const typicality = (value, like) => (value === null ? '–' : signed(value, like));
  /** A table's typicalities have as many places as its largest needs. */
  const largest = (values) => Math.max(...values.map((value) => Math.abs(value ?? 0))) || 1;
  const patchesAt = (figures, k, list = 'top') => figures?.[list]?.find((one) => one.k === k);
  const nameOfRun = (run) => (run.untrained ? 'Untrained model' : run.name);

  /** A figure with its interval beneath it. */
  function cell(figure, digits) {
    const { value, low, high } = figure ?? { value: null, low: null, high: null };
    return h('td', null, number(value, digits), low === null ? null : h('small', null, `${number(low, digits)}–${number(high, digits)}`));
  }
  const plainCell = (text) => h('td', null, text);

  // ---------------------------------------------------------------------------------------------- the means, beside the controls

  function card(title, about, rows, digits) {
    const most = Math.max(...rows.flatMap(([, { value, high }]) => [value ?? 0, high ?? 0]), 1e-9);
    const percent = (value) => `${(100 * Math.max(0, value)) / most}%`;
    return h('section', { class: 'card' }, h('h3', null, title), h('p', { class: 'hint' }, about),
      h('dl', { class: 'bars' }, ...rows.map(([name, { value, low, high }], index) => {
        const bar = h('i', { class: index === 0 ? 'ours' : null });
        bar.style.width = percent(value ?? 0);
        const track = h('span', { class: 'track', 'aria-hidden': 'true' }, bar);
        if (low !== null) {
          const whisker = h('b');
          whisker.style.left = percent(low);
          whisker.style.width = percent(high - low);
          track.append(whisker);
        }
        return h('div', null, h('dt', null, name), h('dd', null, track, h('span', { class: 'value' }, number(value, digits)),
          h('small', null, low === null ? '' : `${number(low, digits)}–${number(high, digits)}`)));
      })));
  }

  function cards({ mean, controls, options }) {
    const { colour, run } = controls;
    const known = (value) => ({ value, low: null, high: null });
    const beside = (of) => [
      ...(run ? [[nameOfRun(run), of(run.mean)]] : []),
      ...(colour ? [['Colours alone', of(colour.mean)]] : []),
    ];
    return h('div', { class: 'cards' },
      card('Average precision', `of the maps’ pixels, smoothed over ${options.smooth} × ${options.smooth}`,
        [['This run', mean.averagePrecision], ...beside((of) => of.averagePrecision), ['A map that knows nothing', known(mean.share)]], 3),
      card('Pointing game', 'how often a map’s highest pixel is on a typical element', [['This run', mean.pointing], ...beside((of) => of.pointing)], 2),
      card('Precision of the top 50', 'patches of a label that are on an element typical of it',
        [['This run', patchesAt(mean, 50).hit], ...(run ? [[nameOfRun(run), patchesAt(run.mean, 50).hit]] : []), ['Random patches', patchesAt(mean, 50, 'random').hit]], 2));
  }

  // ---------------------------------------------------------------------------------------------- pictures beside their maps

  function maps({ sheet, legend }) {
    if (!sheet) return null;
    const { rows, columns, colours } = sheet;
    const percent = (index, n) => (n > 1 ? (100 * index) / (n - 1) : 0);
    const ramp = h('span', { class: 'ramp' });
    ramp.style.backgroundImage = `linear-gradient(to right, ${legend.join(', ')})`;
    const key = (colour) => {
      const swatch = h('i', { class: 'key', 'aria-hidden': 'true' });
      swatch.style.borderColor = colour;
      return swatch;
    };
    return h('section', { class: 'part' }, h('h3', null, 'Pictures and their maps'),
      h('p', { class: 'sub' }, 'Evenly spaced through each label’s list, whatever they show.'),
      h('p', { class: 'keyline' }, h('span', null, key(colours.own), 'typical of the label'), h('span', null, key(colours.others), 'typical of another'),
        h('span', { class: 'ends' }, 'untypical ', ramp, ' typical')),
      ...rows.map(({ label, pictures }, row) => h('div', { class: 'strip-of' }, h('h4', null, label),
        h('div', { class: 'pairs' }, ...pictures.map(({ image, own, others }, column) => {
          const words = `${image}: the picture and its map; ${own} of the label’s elements, ${others} of others’`;
          const pair = h('div', { class: 'pair', role: 'img', title: words, 'aria-label': words });
          pair.style.aspectRatio = `${sheet.cell.width} / ${sheet.cell.height}`;
          pair.style.backgroundImage = 'url("maps/evaluation.webp")';
          pair.style.backgroundSize = `${columns * 100}% ${rows.length * 100}%`;
          pair.style.backgroundPosition = `${percent(column, columns)}% ${percent(row, rows.length)}%`;
          return pair;
        })))));
  }

  // ---------------------------------------------------------------------------------------------- tables

  /** @param head rows of [text, columns it spans, whether words stand below it] */
  function table(title, about, head, body) {
    return h('section', { class: 'part' }, h('h3', null, title), h('p', { class: 'sub' }, about),
      h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title },
        h('table', null,
          h('thead', null, ...head.map((cells) => h('tr', null, ...cells.map(([text, span, words]) =>
            h('th', { scope: span > 1 ? 'colgroup' : 'col', colspan: span > 1 ? String(span) : null, class: span > 1 ? 'over' : words ? 'text' : null }, text))))),
          h('tbody', null, ...body))));
  }

  const rowsOf = ({ labels, mean, controls }) => [
    ...labels.map((one, i) => ({ name: one.label, ours: one, colour: controls.colour?.labels[i], run: controls.run?.labels[i] })),
    { name: 'Mean', ours: mean, colour: controls.colour?.mean, run: controls.run?.mean },
  ];
  const bodyRow = (name, ...cells) => h('tr', { class: name === 'Mean' ? 'mean' : null }, h('th', { scope: 'row' }, name), ...cells);

  function mapTable(data) {
    const { colour, run } = data.controls;
    const controls = [...(run ? [run.untrained ? 'Untrained' : 'Control'] : []), ...(colour ? ['Colours'] : [])];
    const beside = (row, digits, of) => [...(run ? [plainCell(number(of(row.run)?.value, digits))] : []), ...(colour ? [plainCell(number(of(row.colour)?.value, digits))] : [])];
    const head = [
      [['', 1], ['In the pictures', 3], ['Average precision', 2 + controls.length], ['Pointing game', 1 + controls.length], ['Mean typicality of pixels', 3]],
      [...['Label', 'Pictures', 'Boxes', 'Typical pixels', 'This run', 'Times that share', ...controls, 'This run', ...controls, 'Own boxes', 'Others’', 'Elsewhere'].map((text) => [text, 1])],
    ];
    const like = largest(data.labels.flatMap((one) => Object.values(one.typicality)));
    return table('Maps, by label', 'Intervals of 95 % in small print. The share of typical pixels is the average precision of a map that knows nothing.', head, rowsOf(data).map((row) => {
      const { ours } = row;
      return bodyRow(row.name, plainCell(ours.pictures ?? ''), plainCell(ours.boxes ?? ''), plainCell(number(ours.share, 3)),
        cell(ours.averagePrecision, 3), plainCell(times(ours.lift)), ...beside(row, 3, (of) => of?.averagePrecision),
        cell(ours.pointing, 2), ...beside(row, 2, (of) => of?.pointing),
        ...['own', 'others', 'rest'].map((region) => plainCell(typicality(ours.typicality[region], like))));
    }));
  }

  function patchTable(data) {
    const ks = data.mean.top.map(({ k }) => k);
    const { run } = data.controls;
    const controls = ['Random', ...(run ? [run.untrained ? 'Untrained' : 'Control'] : [])];
    const head = [
      [['', 1], ['Centre in a box, or IoU above 0.1', ks.length], ['Centre in a box', ks.length], ['Controls, P@50', controls.length]],
      ['Label', ...ks.map((k) => `P@${k}`), ...ks.map((k) => `P@${k}`), ...controls].map((text) => [text, 1]),
    ];
    return table('Top patches, by label', 'The share of the first k patches that are on an element typical of the label.', head, rowsOf(data).map(({ name, ours, run: other }) =>
      bodyRow(name, ...ks.map((k) => cell(patchesAt(ours, k).hit, 2)), ...ks.map((k) => cell(patchesAt(ours, k).centre, 2)),
        plainCell(number(patchesAt(ours, 50, 'random').hit.value, 2)), ...(run ? [plainCell(number(patchesAt(other, 50)?.hit.value, 2))] : []))));
  }

  function elementTable({ kinds }) {
    if (kinds.length === 0) return null;
    const share = (value) => {
      const bar = h('i');
      bar.style.width = `${100 * (value ?? 0)}%`;
      return h('td', null, number(value, 2), h('span', { class: 'track', 'aria-hidden': 'true' }, bar));
    };
    const like = largest(kinds.map((kind) => kind.typicality));
    const head = [['Element', 'Typical of', 'Slot', 'Boxes', 'Recall', 'In the first 50', 'Patches of the first 50', 'Mean typicality'].map((text) => [text, 1, text === 'Typical of' || text === 'Slot'])];
    return table('Elements', 'Recall: the share of an element’s boxes that some patch of the ranking hits.', head, kinds.map((kind) =>
      bodyRow(kind.kind, h('td', { class: 'text' }, kind.label), h('td', { class: 'text' }, kind.slot ?? ''), plainCell(kind.boxes), share(kind.recall), share(kind.recall50), plainCell(kind.patches50 ?? '–'),
        plainCell(typicality(kind.typicality, like)))));
  }

  /** Called by data/evaluation.js: null where the run was not evaluated. Else diffmine.evaluation is what the page shows of it. */
  diffmine.evaluated = (data) => {
    if (!data) return;
    const { boxes, options, mean, notes } = data;
    const [precision, found] = [mean.averagePrecision.value, patchesAt(mean, 50).hit.value];
    diffmine.evaluation = {
      gist: [
        ...(found === null ? [] : [`On average ${Math.round(100 * found)} % of a label’s top 50 patches are on what is known to be typical of it`]),
        ...(precision === null ? [] : [`average precision of the maps ${number(precision, 2)}`]),
      ].join('; '),
      elements: () => [
        h('div', { class: 'head' }, h('div', null, h('h2', null, 'Evaluation'),
          h('p', { class: 'sub' }, `Against ${count(boxes.used, 'box', 'boxes')} of ${boxes.name} that are in the pictures`,
            options.bootstrap > 0 ? `; intervals of 95 % over pictures, ${options.bootstrap.toLocaleString('en')} resamples` : ''))),
        cards(data), maps(data), mapTable(data), patchTable(data), elementTable(data),
        notes.length > 0 ? h('section', { class: 'part' }, h('h3', null, 'Notes'), ...notes.map((note) => h('p', { class: 'sub' }, note))) : null,
      ].filter(Boolean),
    };
  };
})();
