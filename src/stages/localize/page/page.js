// The page of a localization: metrics against boxes if there are any, then each label's images beside their heat maps. data.js calls
// diffmine.localized; whatever a user named enters as text nodes and attributes' values.
/* global diffmine, document, location */
'use strict';

(() => {
  const { $, h, clip, count, paragraphs, plain, signed } = diffmine.tools;
  /** Images of a label shown at once. */
  const AT_ONCE = 12;

  const METRICS = [
    ['averagePrecision', 'Average precision', 'over all thresholds, heat-map pixels of all images pooled', 3],
    ['paperAucPr', 'AUC-PR as in the paper', 'mean over images, at 1000 fixed thresholds, before the blur', 3],
    ['pointing', 'Pointing game', 'fraction of heat maps whose highest pixel is inside', 2],
    ['bestIou', 'Best IoU', 'mean over images, each at its best threshold', 3],
  ];
  const number = (value, digits) => (value === null || value === undefined ? '–' : value.toFixed(digits));
  const svg = (tag, attributes, ...children) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // ---------------------------------------------------------------------------------------------- figures

  function cards({ mean, model, baseline }) {
    const rows = (name) => [
      [model, mean.model[name], true],
      ...(mean.baseline ? [[baseline, mean.baseline[name], false]] : []),
      ...(name === 'averagePrecision' ? [['Chance', { value: mean.fraction, low: null, high: null }, false]] : []),
    ];
    return h(
      'div',
      { class: 'cards' },
      ...METRICS.map(([name, title, about, digits]) => {
        const most = Math.max(...rows(name).flatMap(([, { value, high }]) => [value ?? 0, high ?? 0]), 1e-9);
        const percent = (value) => `${(100 * value) / most}%`;
        return h(
          'section',
          { class: 'card' },
          h('h3', null, title),
          h('p', { class: 'hint' }, about),
          h(
            'dl',
            { class: 'bars' },
            ...rows(name).map(([who, { value, low, high }, ours]) => {
              const bar = h('i', { class: ours ? 'ours' : null });
              bar.style.width = percent(value ?? 0);
              const track = h('span', { class: 'track', 'aria-hidden': 'true' }, bar);
              if (low !== null) {
                const whisker = h('b');
                whisker.style.left = percent(low);
                whisker.style.width = percent(high - low);
                track.append(whisker);
              }
              return h(
                'div',
                null,
                h('dt', null, who),
                h(
                  'dd',
                  null,
                  track,
                  h('span', { class: 'value' }, number(value, digits)),
                  h('small', null, low === null ? '' : `${number(low, digits)}–${number(high, digits)}`),
                ),
              );
            }),
          ),
        );
      }),
    );
  }

  function cell(figure, digits, sign) {
    const { value, low, high } = figure ?? { value: null, low: null, high: null };
    const words = (one) =>
      sign && one !== null && one !== undefined
        ? `${one < 0 ? '−' : '+'}${Math.abs(one).toFixed(digits)}`
        : number(one, digits);
    return h(
      'td',
      null,
      words(value),
      low === null ? null : h('small', null, `${words(low)}${sign ? ' to ' : '–'}${words(high)}`),
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
    const settingsList = (entries) =>
      h(
        'dl',
        { class: 'settings' },
        ...entries.map(([name, value]) =>
          h('div', { class: said(value).length > 34 ? 'wide' : null }, h('dt', null, name), h('dd', null, said(value))),
        ),
      );
    const section = (title, ...children) => h('section', null, h('h2', null, title), ...children);
    const words = (name) => name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`).replace(/^./, (c) => c.toUpperCase());
    $('foot').replaceChildren(
      section(
        'Maps',
        settingsList([
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
        settingsList([
          ['Mapped', total],
          ['Skipped', skipped],
          ['Boxes or masks', boxes ? `${boxes.used} used of ${boxes.marks}` : 'none'],
        ]),
        ...notes.map((note) => h('p', null, note)),
      ),
      section(
        'Provenance',
        settingsList([
          ['diffmine', version],
          ['Run started', run.created],
          ['Model', run.model.path],
          ['Dataset', run.dataset.path],
          ['Run fingerprint', run.fingerprint],
          ['Model fingerprint', run.model.fingerprint],
        ]),
      ),
      section(
        'Method',
        h(
          'p',
          null,
          'Ioannis Siglidis, Aleksander Holynski, Alexei A. Efros, Mathieu Aubry, Shiry Ginosar: Diffusion Models as Data Mining Tools. ECCV 2024, arXiv 2408.02752, section 5.2.',
        ),
      ),
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
