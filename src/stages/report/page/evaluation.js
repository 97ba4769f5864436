// The evaluation, where the run has one: its metrics beside those of the controls, images beside their maps, and tables by label and element.
'use strict';

(() => {
  const { h, count, clip, signed } = diffmine.tools;
  const { number, card, cell } = diffmine.figures;

  const times = (value) => (value === null || value === undefined ? '–' : `× ${value.toFixed(1)}`);
  const typicality = (value, like) => (value === null ? '–' : signed(value, like));
  /** A table's typicalities have as many places as its largest needs. */
  const largest = (values) => Math.max(...values.map((value) => Math.abs(value ?? 0))) || 1;
  const patchesAt = (figures, k, list = 'top') => figures?.[list]?.find((one) => one.k === k);
  const nameOfRun = (run) => (run.untrained ? 'Random weights' : run.name);
  const shortName = (run) => (run.untrained ? 'Random weights' : 'Control');

  const plainCell = (text) => h('td', null, text);

  // ---------------------------------------------------------------------------------------------- the means, beside the controls

  function cards({ mean, controls, options, words }) {
    const { color, run } = controls;
    const ours = words.run;
    const known = (value) => ({ value, low: null, high: null });
    const beside = (of) => [
      ...(run ? [[nameOfRun(run), of(run.mean)]] : []),
      ...(color ? [['Colors alone', of(color.mean)]] : []),
    ];
    return h(
      'div',
      { class: 'cards' },
      card(
        'Average precision',
        `of the maps’ pixels${options.smooth > 1 ? `, smoothed over ${options.smooth} × ${options.smooth} px` : ''}`,
        [[ours, mean.averagePrecision], ...beside((of) => of.averagePrecision), ['Chance', known(mean.fraction)]],
        3,
      ),
      card(
        'Pointing game',
        'fraction of maps whose highest pixel is on an element typical of the label',
        [[ours, mean.pointing], ...beside((of) => of.pointing)],
        2,
      ),
      card(
        'Precision at 50',
        'fraction of a label’s 50 patches of highest typicality that are on an element typical of it',
        [
          [ours, patchesAt(mean, 50).hit],
          ...(run ? [[nameOfRun(run), patchesAt(run.mean, 50).hit]] : []),
          ...(mean.diverse.length > 0 ? [['Diverse ranking', patchesAt(mean, 50, 'diverse').hit]] : []),
          ['Random patches', patchesAt(mean, 50, 'random').hit],
        ],
        2,
      ),
    );
  }

  // ---------------------------------------------------------------------------------------------- images beside their maps

  function maps({ grid, legend, words }) {
    if (!grid) return null;
    const { rows, columns, colors } = grid;
    const percent = (index, n) => (n > 1 ? (100 * index) / (n - 1) : 0);
    const ramp = h('span', { class: 'ramp' });
    ramp.style.backgroundImage = `linear-gradient(to right, ${legend.join(', ')})`;
    const key = (color) => {
      const swatch = h('i', { class: 'key', 'aria-hidden': 'true' });
      swatch.style.borderColor = color;
      return swatch;
    };
    return h(
      'section',
      { class: 'part' },
      h('h3', null, 'Images and their maps'),
      h('p', { class: 'sub' }, `Images evenly spaced through each label’s list, not selected. ${words.maps}`),
      h(
        'p',
        { class: 'keyline' },
        h('span', null, key(colors.own), 'typical of the label'),
        h('span', null, key(colors.others), 'typical of another label'),
        h('span', { class: 'ends' }, `${clip(words.ends[0])} `, ramp, ` ${clip(words.ends[1])}`),
      ),
      ...rows.map(({ label, images }, row) =>
        h(
          'div',
          { class: 'strip-of' },
          h('h4', null, label),
          h(
            'div',
            { class: 'pairs' },
            ...images.map(({ image, own, others }, column) => {
              const words = `${image} and its typicality map; ${count(own, 'element')} typical of the label, ${others} of other labels`;
              const pair = h('div', { class: 'pair', role: 'img', title: words, 'aria-label': words });
              pair.style.aspectRatio = `${grid.cell.width} / ${grid.cell.height}`;
              pair.style.backgroundImage = 'url("maps/evaluation.webp")';
              pair.style.backgroundSize = `${columns * 100}% ${rows.length * 100}%`;
              pair.style.backgroundPosition = `${percent(column, columns)}% ${percent(row, rows.length)}%`;
              return pair;
            }),
          ),
        ),
      ),
    );
  }

  // ---------------------------------------------------------------------------------------------- tables

  /** @param head rows of [text, columns it spans, whether words stand below it] */
  function table(title, about, head, body) {
    return h(
      'section',
      { class: 'part' },
      h('h3', null, title),
      h('p', { class: 'sub' }, about),
      h(
        'div',
        { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title },
        h(
          'table',
          null,
          h(
            'thead',
            null,
            ...head.map((cells) =>
              h(
                'tr',
                null,
                ...cells.map(([text, span, words]) =>
                  h(
                    'th',
                    {
                      scope: span > 1 ? 'colgroup' : 'col',
                      colspan: span > 1 ? String(span) : null,
                      class: span > 1 ? 'over' : words ? 'text' : null,
                    },
                    text,
                  ),
                ),
              ),
            ),
          ),
          h('tbody', null, ...body),
        ),
      ),
    );
  }

  const rowsOf = ({ labels, mean, controls }) => [
    ...labels.map((one, i) => ({
      name: one.label,
      ours: one,
      color: controls.color?.labels[i],
      run: controls.run?.labels[i],
    })),
    { name: 'Mean', ours: mean, color: controls.color?.mean, run: controls.run?.mean },
  ];
  const bodyRow = (name, ...cells) =>
    h('tr', { class: name === 'Mean' ? 'mean' : null }, h('th', { scope: 'row' }, name), ...cells);

  function mapTable(data) {
    const { words } = data;
    const { color, run } = data.controls;
    const controls = [...(run ? [shortName(run)] : []), ...(color ? ['Colors'] : [])];
    const beside = (row, digits, of) => [
      ...(run ? [plainCell(number(of(row.run)?.value, digits))] : []),
      ...(color ? [plainCell(number(of(row.color)?.value, digits))] : []),
    ];
    const head = [
      [
        ['', 1],
        ['Images', 3],
        ['Average precision', 2 + controls.length],
        ['Pointing game', 1 + controls.length],
        ['Mean typicality of pixels', 3],
      ],
      [
        ...[
          'Label',
          'Images',
          'Boxes',
          'Typical pixels',
          words.run,
          'Times chance',
          ...controls,
          words.run,
          ...controls,
          'Own boxes',
          'Others’ boxes',
          'Elsewhere',
        ].map((text) => [text, 1]),
      ],
    ];
    const like = largest(data.labels.flatMap((one) => Object.values(one.typicality)));
    return table(
      'Maps, by label',
      `${data.options.bootstrap > 0 ? 'Small print: 95 % intervals. ' : ''}Typical pixels: fraction of pixels in boxes of elements typical of the label, which is the average precision of a random map (chance).`,
      head,
      rowsOf(data).map((row) => {
        const { ours } = row;
        return bodyRow(
          row.name,
          plainCell(ours.images ?? ''),
          plainCell(ours.boxes ?? ''),
          plainCell(number(ours.fraction, 3)),
          cell(ours.averagePrecision, 3),
          plainCell(times(ours.lift)),
          ...beside(row, 3, (of) => of?.averagePrecision),
          cell(ours.pointing, 2),
          ...beside(row, 2, (of) => of?.pointing),
          ...['own', 'others', 'rest'].map((region) => plainCell(typicality(ours.typicality[region], like))),
        );
      }),
    );
  }

  function patchTable(data) {
    const ks = data.mean.top.map(({ k }) => k);
    const { run } = data.controls;
    const diverse = data.mean.diverse.length > 0;
    const others = [...(diverse ? ['Diverse ranking'] : []), 'Random patches', ...(run ? [shortName(run)] : [])];
    const head = [
      [
        ['', 1],
        ['Center in a box, or IoU above 0.1', ks.length],
        ['Center in a box', ks.length],
        [diverse ? 'Other rankings, P@50' : 'Controls, P@50', others.length],
      ],
      ['Label', ...ks.map((k) => `P@${k}`), ...ks.map((k) => `P@${k}`), ...others].map((text) => [text, 1]),
    ];
    return table(
      'Patches of highest typicality, by label',
      'P@k: fraction of the first k patches that are on an element typical of the label.',
      head,
      rowsOf(data).map(({ name, ours, run: other }) =>
        bodyRow(
          name,
          ...ks.map((k) => cell(patchesAt(ours, k).hit, 2)),
          ...ks.map((k) => cell(patchesAt(ours, k).center, 2)),
          ...(diverse ? [plainCell(number(patchesAt(ours, 50, 'diverse').hit.value, 2))] : []),
          plainCell(number(patchesAt(ours, 50, 'random').hit.value, 2)),
          ...(run ? [plainCell(number(patchesAt(other, 50)?.hit.value, 2))] : []),
        ),
      ),
    );
  }

  function elementTable({ kinds }) {
    if (kinds.length === 0) return null;
    const fraction = (value) => {
      const bar = h('i');
      bar.style.width = `${100 * (value ?? 0)}%`;
      return h('td', null, number(value, 2), h('span', { class: 'track', 'aria-hidden': 'true' }, bar));
    };
    const like = largest(kinds.map((kind) => kind.typicality));
    const diverse = kinds.some((kind) => kind.diversePatches50 !== null);
    const head = [
      [
        'Element',
        'Typical of',
        'Slot',
        'Boxes',
        'Recall',
        'Recall at 50',
        'Patches among the first 50',
        ...(diverse ? ['Of the diverse 50'] : []),
        'Mean typicality',
      ].map((text) => [text, 1, text === 'Typical of' || text === 'Slot']),
    ];
    return table(
      'Elements',
      'Recall: fraction of an element’s boxes that a patch of the ranking is on.',
      head,
      kinds.map((kind) =>
        bodyRow(
          kind.kind,
          h('td', { class: 'text' }, kind.label),
          h('td', { class: 'text' }, kind.slot ?? ''),
          plainCell(kind.boxes),
          fraction(kind.recall),
          fraction(kind.recall50),
          plainCell(kind.patches50 ?? '–'),
          ...(diverse ? [plainCell(kind.diversePatches50 ?? '–')] : []),
          plainCell(typicality(kind.typicality, like)),
        ),
      ),
    );
  }

  /** Called by data/evaluation.js: null where the run was not evaluated. Else diffmine.evaluation is what the page shows of it. */
  diffmine.evaluated = (data) => {
    if (!data) return;
    const { boxes, options, mean, notes, words } = data;
    const [dtype, found] = [mean.averagePrecision.value, patchesAt(mean, 50).hit.value];
    diffmine.evaluation = {
      gist: [
        ...(found === null
          ? []
          : [
              `${words.before}${Math.round(100 * found)} % of the 50 patches of highest typicality are on elements known to be typical of their label (mean over labels)`,
            ]),
        ...(dtype === null ? [] : [`average precision of the maps: ${number(dtype, 2)}`]),
      ].join('; '),
      elements: () =>
        [
          h(
            'div',
            { class: 'head' },
            h(
              'div',
              null,
              h('h2', null, 'Evaluation'),
              h(
                'p',
                { class: 'sub' },
                `Compared with ${count(boxes.used, 'box', 'boxes')} of ${boxes.name}. ${words.scores}`,
                options.bootstrap > 0
                  ? ` 95 % intervals: ${options.bootstrap.toLocaleString('en')} bootstrap resamples over images.`
                  : '',
              ),
            ),
          ),
          cards(data),
          maps(data),
          mapTable(data),
          patchTable(data),
          elementTable(data),
          notes.length > 0
            ? h(
                'section',
                { class: 'part' },
                h('h3', null, 'Notes'),
                ...notes.map((note) => h('p', { class: 'sub' }, note)),
              )
            : null,
        ].filter(Boolean),
    };
  };
})();
