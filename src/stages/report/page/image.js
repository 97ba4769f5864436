// One image: its patches and their boxes, its maps under every label, and the images whose patches are nearest to its own.
'use strict';

(() => {
  const { h, clip, count, plain, signed } = diffmine.tools;
  const NEIGHBORS = 8;

  /** @param number of the image in the run's list; `map`: the map's data, unpacked */
  diffmine.image = (page, map, number) => {
    const place = map.images.findIndex(([known]) => known === number);
    if (place < 0) return [h('p', { class: 'notice' }, 'This image is not on the map of patches.')];
    const { run, tiles } = page;
    const [, file, label, width, height, has] = map.images[place];
    const own = [...map.label.keys()]
      .filter((i) => map.image[i] === place)
      .sort((a, b) => map.typicality[b] - map.typicality[a]);
    const open = (i) => () => page.go(page.addressOf(i));
    const tile = (i, attributes) =>
      tiles.paint(
        h('button', { class: 'tile', type: 'button', ...attributes }),
        map.label[i],
        map.tile[i],
        run.labels[map.label[i]].patches,
      );
    const frame = h('div', { class: 'frame' });
    if (has > 0) {
      frame.style.setProperty('--shape', width / height);
      frame.append(
        h('img', {
          class: 'source',
          src: `images/${number}.webp`,
          alt: `${file}, an image labeled ${label}`,
          width,
          height,
        }),
      );
      for (const i of own) {
        const [x, y, w, tall] = map.box.subarray(4 * i, 4 * i + 4);
        const box = h('button', {
          class: 'box',
          type: 'button',
          title: `${run.labels[map.label[i]].label} ${signed(map.typicality[i])}`,
          'aria-label': `Open the patch of ${run.labels[map.label[i]].label}, typicality ${signed(map.typicality[i])}`,
          onclick: open(i),
        });
        Object.assign(box.style, {
          left: `${(100 * x) / width}%`,
          top: `${(100 * y) / height}%`,
          width: `${(100 * w) / width}%`,
          height: `${(100 * tall) / height}%`,
        });
        frame.append(box);
      }
    } else frame.classList.add('gone');
    return [
      h(
        'div',
        { class: 'head' },
        h(
          'div',
          null,
          h('h2', null, clip(file, 60)),
          h(
            'p',
            { class: 'sub' },
            `${label} · ${width} × ${height} px · ${count(own.length, 'patch', 'patches')} on the map`,
          ),
        ),
        h('button', { type: 'button', class: 'more', onclick: () => page.go({ label: 'map' }) }, 'Back to the map'),
      ),
      h(
        'div',
        { class: 'image-page' },
        h('figure', { class: 'stage' }, frame),
        h(
          'div',
          null,
          h('h3', null, 'Patches'),
          h(
            'ul',
            { class: 'patch-list' },
            ...own.map((i) =>
              h(
                'li',
                null,
                tile(i, { 'aria-label': `Open this patch of ${run.labels[map.label[i]].label}`, onclick: open(i) }),
                h(
                  'span',
                  null,
                  run.labels[map.label[i]].label,
                  h('br'),
                  h('span', { class: 'value' }, signed(map.typicality[i])),
                  map.error.at(i) === null ? '' : ` ± ${plain(map.error.at(i))}`,
                ),
              ),
            ),
          ),
        ),
      ),
      maps(page, number, { width, height, file }),
      neighbors(page, map, own, place),
    ].filter(Boolean);
  };

  /** The image's maps under all labels, in one color scale. */
  function maps({ run }, number, { width, height, file }) {
    if (!run.strips?.numbers.includes(number)) return null;
    const { order } = run.overview;
    const ramp = h('div', { class: 'ramp' });
    ramp.style.backgroundImage = `linear-gradient(to right, ${run.legend.join(', ')})`;
    const { scale } = run.strips;
    return h(
      'section',
      { class: 'part' },
      h('h3', null, 'Under every label'),
      h(
        'p',
        { class: 'sub' },
        'Its typicality maps in one color scale. Red: the label helps the model denoise the image there; blue: it hinders.',
      ),
      h(
        'div',
        { class: 'maps-of' },
        ...order.map((under) => {
          const name = run.labels[under].label;
          const overlay = h('div', { class: 'heat' });
          overlay.style.backgroundImage = `url("maps/all-${number}.webp")`;
          overlay.style.backgroundSize = `${100 * run.labels.length}% 100%`;
          overlay.style.backgroundPosition = `${run.labels.length > 1 ? (100 * under) / (run.labels.length - 1) : 0}% 0`;
          const frame = h(
            'div',
            { class: 'frame warm', role: 'img', 'aria-label': `Typicality map of ${file} for ${name}` },
            h('img', { class: 'source', src: `images/${number}.webp`, alt: '' }),
            overlay,
          );
          frame.style.setProperty('--shape', width / height);
          return h('figure', null, frame, h('figcaption', { title: name }, clip(name, 24)));
        }),
      ),
      h(
        'div',
        { class: 'legend' },
        ramp,
        h(
          'div',
          { class: 'ends' },
          h('span', null, signed(-scale)),
          h('span', null, '0'),
          h('span', null, signed(scale)),
        ),
      ),
    );
  }

  /** Images of the patches that are nearest to this image's. */
  function neighbors({ run, go, tiles }, map, own, place) {
    const found = new Map();
    for (let rank = 0; rank < map.near; rank++)
      for (const i of own) {
        const other = map.neighbors[i * map.near + rank];
        if (other >= map.count || map.image[other] === place || found.has(map.image[other])) continue;
        found.set(map.image[other], other);
      }
    const shown = [...found].slice(0, NEIGHBORS);
    if (shown.length === 0) return null;
    return h(
      'section',
      { class: 'part' },
      h('h3', null, 'Neighbors'),
      h('p', { class: 'sub' }, 'Images with the patches that are nearest to these, by their features.'),
      h(
        'div',
        { class: 'neighbors' },
        ...shown.map(([image, i]) => {
          const [number, file, label, , , has] = map.images[image];
          const button = h('button', {
            type: 'button',
            class: 'neighbor',
            title: file,
            'aria-label': `${file}, ${label}`,
            onclick: () => go({ label: 'image', image: number }),
          });
          if (has > 0) button.append(h('img', { src: `images/${number}.webp`, alt: '', loading: 'lazy' }));
          button.append(
            tiles.paint(h('span', { class: 'tile' }), map.label[i], map.tile[i], run.labels[map.label[i]].patches),
            h('span', { class: 'caption' }, clip(label, 24)),
          );
          return button;
        }),
      ),
    );
  }
})();
