// The page of a localization: metrics against boxes if there are any, then each label's images beside their heat maps. data.js calls
// diffmine.localized; whatever a user named enters as text nodes and attributes' values.
'use strict';

(() => {
  const { $, h, svg, clip, count, paragraphs, plain, signed } = diffmine.tools;
  const { number, card, cell } = diffmine.figures;
  const { words, list, section, method } = diffmine.settings;
  /** Images of a label shown at once. */
  const AT_ONCE = 12;

  const METRICS = [
    ['averagePrecision', 'Average precision', 'over all thresholds, heat-map pixels of all images pooled', 3],
    ['paperAucPr', 'AUC-PR as in the paper', 'mean over images, at 1000 fixed thresholds, before the blur', 3],
    ['pointing', 'Pointing game', 'fraction of heat maps whose highest pixel is inside', 2],
    ['bestIou', 'Best IoU', 'mean over images, each at its best threshold', 3],
  ];
  // ---------------------------------------------------------------------------------------------- figures

  function cards({ mean, model, baseline }) {
    const rows = (name) => [
      [model, mean.model[name]],
      ...(mean.baseline ? [[baseline, mean.baseline[name]]] : []),
      ...(name === 'averagePrecision' ? [['Chance', { value: mean.fraction, low: null, high: null }]] : []),
    ];
    return h(
      'div',
      { class: 'cards' },
      ...METRICS.map(([name, title, about, digits]) => card(title, about, rows(name), digits)),
    );
  }

  function table({ labels, mean, baseline, options }) {
    const parts = baseline
      ? [
          ['model', 'Model'],
          ['baseline', 'Baseline'],
          ['difference', 'Difference'],
        ]
      : [['model', '']];
    const head = [
      ...(baseline
        ? [
            h(
              'tr',
              null,
              h('th', { colspan: '4', scope: 'colgroup' }),
              ...METRICS.map(([, title]) =>
                h('th', { class: 'over', colspan: String(parts.length), scope: 'colgroup' }, title),
              ),
            ),
          ]
        : []),
      h(
        'tr',
        null,
        ...['Label', 'Images', 'Marked', 'Pixels inside'].map((text) => h('th', { scope: 'col' }, text)),
        ...METRICS.flatMap(([, title]) => parts.map(([, name]) => h('th', { scope: 'col' }, name || title))),
      ),
    ];
    const row = (name, one) =>
      h(
        'tr',
        { class: name === 'Mean' ? 'mean' : null },
        h('th', { scope: 'row', title: name }, name),
        h('td', null, one.images ?? ''),
        h('td', null, one.marked ?? ''),
        h('td', null, number(one.fraction, 3)),
        ...METRICS.flatMap(([metric, , , digits]) =>
          parts.map(([part]) => cell(one[part]?.[metric], digits, part === 'difference')),
        ),
      );
    return h(
      'section',
      { class: 'part' },
      h('h3', null, 'By label'),
      h(
        'p',
        { class: 'sub' },
        `${options.bootstrap > 0 ? 'Small print: 95 % intervals. ' : ''}Pixels inside: fraction of the marked images’ pixels inside boxes or masks, which is the average precision of a random map (chance). A constant map has half of it as the paper’s AUC-PR.`,
      ),
      h(
        'div',
        { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'By label' },
        h(
          'table',
          null,
          h('thead', null, ...head),
          h('tbody', null, ...labels.map((one) => row(one.label, one)), row('Mean', mean)),
        ),
      ),
    );
  }

  // ---------------------------------------------------------------------------------------------- images

  function view(src, words, image, edge, caption, numbers) {
    const frame = h(
      'span',
      { class: 'frame' },
      h('img', {
        src,
        alt: words,
        width: String(image.width),
        height: String(image.height),
        loading: 'lazy',
        decoding: 'async',
      }),
    );
    if (edge)
      frame.append(
        svg(
          'svg',
          { viewBox: `0 0 ${image.width} ${image.height}`, 'aria-hidden': 'true', preserveAspectRatio: 'none' },
          svg('path', { class: 'under', d: edge }),
          svg('path', { class: 'over', d: edge }),
        ),
      );
    return h(
      'figure',
      { class: 'view' },
      h('a', { href: src }, frame),
      h(
        'figcaption',
        null,
        h('b', null, caption),
        numbers.length > 0
          ? h('dl', null, ...numbers.flatMap(([name, value]) => [h('dt', null, name), h('dd', null, value)]))
          : null,
      ),
    );
  }

  function numbersOf({ typicality, figures }, like) {
    return [
      ['typicality', signed(typicality, like)],
      ...(figures
        ? [
            ['AP', number(figures.averagePrecision, 3)],
            ['paper’s', number(figures.paperAucPr, 3)],
            ['best IoU', number(figures.bestIou, 2)],
            ['points', figures.pointing ? 'inside' : 'outside'],
          ]
        : []),
    ];
  }

  function one(data, image, map) {
    const views = [
      view(
        image.file,
        `${image.image}, as it was scored`,
        image,
        map.edge,
        'Image',
        map.fraction === null ? [] : [['inside', `${(100 * map.fraction).toFixed(1)} %`]],
      ),
      view(
        map.model.overlay,
        `${image.image} with its heat map for ${map.label} against ${data.words.rival}`,
        image,
        map.edge,
        data.model,
        numbersOf(map.model, map.model.typicality),
      ),
    ];
    if (map.baseline?.overlay)
      views.push(
        view(
          map.baseline.overlay,
          `${image.image} with the baseline’s heat map for ${map.label} against ${data.words.rival}`,
          image,
          map.edge,
          data.baseline,
          numbersOf(map.baseline, map.baseline.typicality),
        ),
      );
    return h(
      'article',
      { class: 'one' },
      h('h4', null, image.image, image.label === map.label ? null : h('span', null, ` · ${image.label}`)),
      h('div', { class: 'views' }, ...views),
    );
  }

  function labelSection(data, label, place) {
    const { scale, baselineScale, images } = label;
    const shown = data.images.flatMap((image) =>
      image.maps.filter((map) => map.label === label.label).map((map) => [image, map]),
    );
    if (shown.length === 0) return null;
    const list = h('div', { class: data.baseline ? 'shown three' : 'shown' });
    const more = h('button', { class: 'more', type: 'button', onclick: () => add() });
    let next = 0;
    const add = () => {
      const part = shown.slice(next, next + AT_ONCE);
      next += part.length;
      list.append(...part.map(([image, map]) => one(data, image, map)));
      more.hidden = next >= shown.length;
      more.textContent = `Show ${count(Math.min(AT_ONCE, shown.length - next), 'more image')} (${shown.length - next} left)`;
    };
    add();
    return h(
      'section',
      { class: 'part label', id: `label-${place}` },
      h('h3', null, label.label),
      h(
        'p',
        { class: 'sub' },
        `${count(images, 'image')}${data.boxes ? `, ${label.marked} with boxes or masks` : ''}${shown.length < images ? `; ${shown.length} drawn` : ''}. ` +
          `Color scale: ±${plain(scale)}${baselineScale === null ? '' : `, of the baseline ±${plain(baselineScale)}`}.`,
      ),
      list,
      more,
    );
  }

  function keyline({ boxes, legend, words }) {
    const ramp = h('span', { class: 'ramp' });
    ramp.style.backgroundImage = `linear-gradient(to right, ${legend.join(', ')})`;
    const toggle = h('input', {
      type: 'checkbox',
      checked: true,
      onchange: () => $('main').classList.toggle('unmarked', !toggle.checked),
    });
    return h(
      'div',
      { class: 'controls' },
      h(
        'p',
        { class: 'keyline' },
        boxes ? h('span', null, h('i', { class: 'key', 'aria-hidden': 'true' }), 'boxes or masks') : null,
        h(
          'span',
          { class: 'ends', role: 'img', 'aria-label': words.map },
          `${clip(words.ends[0])} `,
          ramp,
          ` ${clip(words.ends[1])}`,
        ),
      ),
      boxes ? h('label', null, toggle, 'Show boxes and masks') : null,
    );
  }

  // ---------------------------------------------------------------------------------------------- the page

  function foot({ run, options, notes, boxes, skipped, total, version, words: texts }) {
    $('foot').replaceChildren(
      section(
        'Maps',
        list([
          ...Object.entries(run.options)
            .filter(([name]) => !['patch', 'perImage', 'maps', 'allLabels', 'against', 'tBegin', 'tEnd'].includes(name))
            .map(([name, value]) => [words(name), value]),
          ['Compared with', texts.comparedWith],
          ['Timesteps', texts.timesteps],
          ['Blur', options.blur],
          ...(run.preset ? [['Preset', run.preset]] : []),
        ]),
      ),
      section(
        'Images',
        list([
          ['Mapped', total],
          ['Skipped', skipped],
          ['Boxes or masks', boxes ? `${boxes.used} used of ${boxes.marks}` : 'none'],
        ]),
        ...notes.map((note) => h('p', null, note)),
      ),
      section(
        'Provenance',
        list([
          ['diffmine', version],
          ['Run started', run.created],
          ['Model', run.model.name],
          ['Dataset', run.dataset.name],
          ['Run fingerprint', run.fingerprint],
          ['Model fingerprint', run.model.fingerprint],
        ]),
      ),
      section('Method', method('5.2')),
    );
  }

  /** Called by data.js. */
  diffmine.localized = (data) => {
    const { run, labels, boxes, mean, words } = data;
    document.title = `${run.dataset.name} · diffmine localization`;
    $('title').textContent = run.dataset.name;
    $('lede').textContent = words.lede;
    $('method').replaceChildren(...paragraphs(words.method));
    if (words.notice) $('title').after(h('p', { class: 'notice control', id: 'notice' }, words.notice));
    $('facts').replaceChildren(
      ...[
        ['Images', data.total.toLocaleString('en')],
        ['Labels', String(labels.length)],
        ['Compared with', words.comparedWith],
        ['Samples per image', String(run.options.samples)],
        ['Timesteps', words.timesteps],
        ...(boxes ? [['Boxes or masks', `${boxes.used} of ${boxes.name}`]] : []),
        ...(mean.model?.averagePrecision?.value === null || !mean.model
          ? []
          : [
              [
                'Average precision',
                `${number(mean.model.averagePrecision.value, 3)}${mean.baseline ? `; baseline ${number(mean.baseline.averagePrecision.value, 3)}` : ''}`,
              ],
            ]),
      ].map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
    );
    const sections = labels.map((label, place) => labelSection(data, label, place)).filter(Boolean);
    $('main').replaceChildren(
      ...[
        ...(mean.model ? [h('h2', null, 'Comparison with boxes or masks'), cards(data), table(data)] : []),
        h(
          'div',
          { class: 'part' },
          h('h2', null, 'Images and their maps'),
          labels.length > 1
            ? h(
                'ul',
                { class: 'jump' },
                ...labels.map((label, place) => h('li', null, h('a', { href: `#label-${place}` }, label.label))),
              )
            : null,
        ),
        keyline(data),
        ...sections,
      ],
    );
    foot(data);
    if (location.hash) $(location.hash.slice(1))?.scrollIntoView();
  };
})();
