// The first screen: one row per label with its two best clusters; where the run has them, their profiles and the matrix of labels.
'use strict';

(() => {
  const { h, clip, count, signed, svg } = diffmine.tools;
  const BEST = 2;

  /** How typical a cluster is under every label: a curve over ordered labels, else bars. */
  diffmine.profile = (run, label, cluster) => {
    const values = run.overview.profiles?.[label]?.[cluster];
    if (!values?.some(Boolean)) return null;
    const { order, ordered } = run.overview;
    const shown = order.map((under) => ({ under, name: run.labels[under].label, value: values[under] }));
    const own = values[label]?.[0] ?? 0;
    const also = shown
      .filter(({ under, value }) => under !== label && value && value[0] > 2 * value[1] && value[0] > own / 4)
      .sort((a, b) => b.value[0] - a.value[0])
      .slice(0, 3);
    const words = `Mean typicality of its patches under each label: ${shown
      .map(({ name, value }) => `${name} ${value ? signed(value[0], own || 1) : 'unknown'}`)
      .join(', ')}`;
    const chart = diffmine.curve(
      shown.map(({ name, under, value }) => ({
        name,
        value: value?.[0] ?? null,
        error: value?.[1] ?? 0,
        strong: under === label,
      })),
      { joined: ordered, words, zero: true },
    );
    return h(
      'div',
      { class: 'profile' },
      chart,
      h(
        'p',
        { class: 'hint' },
        also.length > 0
          ? `also typical of ${also.map(({ name }) => clip(name, 24)).join(', ')}`
          : 'typical of this label alone',
      ),
    );
  };

  /** A small chart: values with their standard errors, as a curve or as bars. */
  diffmine.curve = (points, { joined, words, zero, height = 56, width = 220 }) => {
    const known = points.filter(({ value }) => value !== null);
    const low = Math.min(zero ? 0 : Infinity, ...known.map(({ value, error }) => value - error));
    const high = Math.max(...known.map(({ value, error }) => value + error), low + 1e-12);
    const y = (value) => 4 + ((height - 8) * (high - value)) / (high - low);
    const step = width / points.length;
    const x = (i) => (i + 0.5) * step;
    const root = svg('svg', { viewBox: `0 0 ${width} ${height}`, class: 'curve', role: 'img', 'aria-label': words });
    root.append(svg('title', {}, words));
    if (low <= 0) root.append(svg('line', { class: 'axis', x1: 0, x2: width, y1: y(0), y2: y(0) }));
    points.forEach(({ value, error, strong }, i) => {
      if (value === null) return;
      if (!joined) {
        const [top, bottom] = [Math.min(y(value), y(0)), Math.max(y(value), y(0))];
        root.append(
          svg('rect', {
            class: strong ? 'bar strong' : 'bar',
            x: x(i) - step * 0.35,
            width: step * 0.7,
            y: top,
            height: Math.max(1, bottom - top),
          }),
        );
      }
      root.append(svg('line', { class: 'error', x1: x(i), x2: x(i), y1: y(value + error), y2: y(value - error) }));
    });
    if (joined) {
      const line = points.flatMap(({ value }, i) =>
        value === null ? [] : [`${x(i).toFixed(1)},${y(value).toFixed(1)}`],
      );
      root.append(svg('polyline', { class: 'line', points: line.join(' ') }));
      points.forEach(({ value, strong }, i) => {
        if (value !== null)
          root.append(
            svg('circle', { class: strong ? 'dot strong' : 'dot', cx: x(i), cy: y(value), r: strong ? 4 : 2.5 }),
          );
      });
    }
    return root;
  };

  function cluster(page, label, best, place) {
    const { run, tiles } = page;
    const { number, median, tiles: shown, size } = best;
    const strip = h('span', { class: 'four' });
    for (const tile of shown)
      strip.append(tiles.paint(h('span', { class: 'tile' }), label, tile, run.labels[label].patches));
    return h(
      'div',
      { class: 'best' },
      h(
        'button',
        {
          type: 'button',
          class: 'open',
          'aria-label': `Cluster ${number} of ${run.labels[label].label}, ${count(size, 'patch', 'patches')}, median typicality ${signed(median)}`,
          onclick: () => page.go({ label, view: 'clusters', group: String(number), rank: null }),
        },
        strip,
        h('span', { class: 'caption' }, `Cluster ${number} · `, h('span', { class: 'value' }, signed(median))),
      ),
      diffmine.profile(run, label, place),
    );
  }

  function matrix(run) {
    const { matrix: values, order } = run.overview;
    if (!values) return null;
    const most = Math.max(...values.flat().map((value) => Math.abs(value ?? 0))) || 1;
    const color = (value) => run.legend[Math.round(((value / most + 1) / 2) * (run.legend.length - 1))];
    const name = (label) => run.labels[label].label;
    return h(
      'section',
      { class: 'part' },
      h('h3', null, 'Labels under labels'),
      h(
        'p',
        { class: 'sub' },
        'Mean typicality of the images of each label (row) under every label (column). Red: its images are typical of the column. ',
        run.overview.ordered ? '' : 'Similar labels are neighbors.',
      ),
      h(
        'div',
        { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Labels under labels' },
        h(
          'table',
          { class: 'matrix' },
          h(
            'thead',
            null,
            h(
              'tr',
              null,
              h('td', null, h('span', { class: 'unseen' }, 'Images of')),
              ...order.map((under) =>
                h('th', { scope: 'col' }, h('span', { title: name(under) }, clip(name(under), 18))),
              ),
            ),
          ),
          h(
            'tbody',
            null,
            ...order.map((of) =>
              h(
                'tr',
                null,
                h('th', { scope: 'row', title: name(of) }, clip(name(of), 22)),
                ...order.map((under) => {
                  const value = values[of][under];
                  const cell = h(
                    'td',
                    {
                      title: `Images of ${name(of)} under ${name(under)}: ${value === null ? 'unknown' : signed(value)}`,
                    },
                    h('span', { class: 'unseen' }, value === null ? 'unknown' : signed(value, most)),
                  );
                  if (value !== null) cell.style.background = color(value);
                  return cell;
                }),
              ),
            ),
          ),
        ),
      ),
    );
  }

  diffmine.overview = (page) => {
    const { run } = page;
    return [
      h(
        'div',
        { class: 'head' },
        h('div', null, h('h2', null, 'Overview'), h('p', { class: 'sub' }, 'The two best clusters of each label.')),
      ),
      h(
        'div',
        { class: 'overview' },
        ...run.overview.order.map((label) => {
          const { label: name, best, patches } = run.labels[label];
          return h(
            'section',
            { class: 'label-row', 'aria-label': name },
            h(
              'h3',
              null,
              h(
                'button',
                { type: 'button', class: 'more', onclick: () => page.go({ label, view: page.viewFor(label) }) },
                name,
              ),
            ),
            best.length > 0
              ? h(
                  'div',
                  { class: 'pair-of' },
                  ...best.slice(0, BEST).map((one, place) => cluster(page, label, one, place)),
                )
              : h('p', { class: 'sub' }, patches > 0 ? 'No clusters.' : 'No patches.'),
          );
        }),
      ),
      matrix(run),
    ].filter(Boolean);
  };
})();
