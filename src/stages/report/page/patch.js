// One patch in a dialog: the image it comes from, its box, the typicality map, its numbers, and the way to its neighbors.
'use strict';

/**
 * @param page what the dialog asks of the page: `run`, `state` and `groups` as they are now, go(state, quietly), leave(), paintTile(element, tile, data)
 * @returns open(data, group, at): shows that group's patch number `at`; close()
 */
diffmine.patch = (page) => {
  const { $, h, icon, clip, plain, signed, tenths } = diffmine.tools;
  let warm = false; // whether the heat map is on

  /** The patch before or after, also across the edges of its group. */
  function neighbor(group, at, by) {
    const { groups } = page;
    if (group.tiles[at + by] !== undefined) return { group, at: at + by };
    for (let row = groups.indexOf(group) + by; groups[row]; row += by) {
      if (groups[row].tiles.length > 0) return { group: groups[row], at: by > 0 ? 0 : groups[row].tiles.length - 1 };
    }
    return null;
  }

  function open(data, group, at) {
    const dialog = $('dialog');
    const { patches } = data;
    const tile = group.tiles[at];
    const [number, file, label, width, height, has] = data.images[patches.image[tile]];
    const turn = (by) => {
      const to = neighbor(group, at, by);
      return {
        to,
        go: () =>
          to && page.go({ ...page.state, group: to.group.key, rank: patches.rank[to.group.tiles[to.at]] }, true),
      };
    };
    const before = turn(-1);
    const after = turn(1);
    const focused = dialog.open ? document.activeElement?.id : '';
    dialog.onkeydown = (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === 'ArrowLeft') before.go();
      else if (event.key === 'ArrowRight') after.go();
      else if (event.key === 'h' || event.key === 'H') $('heat')?.click();
      else return;
      event.preventDefault();
    };
    const button = (id, name, path, action, disabled) =>
      h(
        'button',
        { class: 'icon', type: 'button', id, 'aria-label': name, title: name, disabled, onclick: action },
        icon(path),
      );
    dialog.replaceChildren(
      h(
        'div',
        { class: 'strip' },
        h(
          'h2',
          { id: 'dialog-title' },
          `${data.label} `,
          h(
            'span',
            null,
            h('span', { class: 'dot' }, '· '),
            `${group.place}, patch ${(at + 1).toLocaleString('en')} of ${group.tiles.length.toLocaleString('en')}`,
          ),
        ),
        button('previous', 'Previous patch', 'M15 5l-7 7 7 7', before.go, !before.to),
        button('next', 'Next patch', 'M9 5l7 7-7 7', after.go, !after.to),
        button('close', 'Close', 'M6 6l12 12M18 6L6 18', page.leave, false),
      ),
      h(
        'div',
        { class: 'body' },
        stage(data, tile, { number, file, label, width, height, has }),
        facts(data, tile, { number, file, label, width, height }),
      ),
    );
    if (!dialog.open) dialog.showModal();
    const focus = focused && $(focused);
    if (focus && !focus.disabled) focus.focus();
    else $(after.to ? 'next' : 'close').focus();
    for (const to of [before.to, after.to]) {
      const [near, , , , , state] = to ? data.images[patches.image[to.group.tiles[to.at]]] : [];
      if (state) new Image().src = `images/${near}.webp`;
    }
  }

  function stage(data, tile, { number, file, label, width, height, has }) {
    const { patches } = data;
    const frame = h('div', { class: 'frame', id: 'frame' });
    const under = h('div', { class: 'under' });
    if (has === 0) {
      frame.classList.add('gone');
      frame.append(
        h(
          'p',
          { class: 'notice' },
          `${file} was not found when this report was written, so the image cannot be shown.`,
        ),
      );
      return h('figure', { class: 'stage' }, frame);
    }
    frame.style.setProperty('--shape', width / height);
    const source = h('img', {
      class: 'source',
      src: `images/${number}.webp`,
      alt: `${file}, an image labeled ${label}`,
      width,
      height,
    });
    source.addEventListener('error', () =>
      frame.append(h('p', { class: 'notice' }, `images/${number}.webp is missing.`)),
    );
    const box = h('div', { class: 'box', id: 'box' });
    box.style.left = `${(100 * patches.x[tile]) / width}%`;
    box.style.top = `${(100 * patches.y[tile]) / height}%`;
    box.style.width = `${(100 * patches.width[tile]) / width}%`;
    box.style.height = `${(100 * patches.height[tile]) / height}%`;
    frame.append(source, box);
    if (has === 2) {
      const legend = legendOf(data);
      const apply = () => {
        let overlay = frame.querySelector('.heat');
        if (warm && !overlay) {
          overlay = h('img', { class: 'heat', src: `maps/${page.state.label}-${number}.webp`, alt: data.words.map });
          overlay.addEventListener('error', () =>
            frame.append(h('p', { class: 'notice' }, `maps/${page.state.label}-${number}.webp is missing.`)),
          );
          source.after(overlay);
        }
        if (overlay) overlay.hidden = !warm;
        frame.classList.toggle('warm', warm);
        legend.hidden = !warm;
      };
      const toggle = h('input', {
        type: 'checkbox',
        id: 'heat',
        role: 'switch',
        onchange: () => {
          warm = toggle.checked;
          apply();
        },
      });
      toggle.checked = warm;
      under.append(h('label', { class: 'toggle' }, toggle, 'Typicality map'), legend);
      apply();
    } else {
      under.append(
        h(
          'p',
          { class: 'without' },
          page.run.maps.kept
            ? 'There is no typicality map of this image.'
            : 'No typicality map: the scan ran with --no-maps.',
        ),
      );
    }
    return h('figure', { class: 'stage' }, frame, under);
  }

  function legendOf({ scale, words }) {
    const [blue, red] = words.ends;
    const ramp = h('div', { class: 'ramp' });
    ramp.style.backgroundImage = `linear-gradient(to right, ${page.run.legend.join(', ')})`;
    return h(
      'div',
      {
        class: 'legend',
        id: 'legend',
        role: 'img',
        'aria-label': `Colors from blue, ${signed(-scale)}, ${blue}, through gray, 0, to red, ${signed(scale)}, ${red}`,
      },
      ramp,
      h(
        'div',
        { class: 'ends', 'aria-hidden': 'true' },
        h('span', { title: blue }, signed(-scale), h('br'), clip(blue)),
        h('span', null, '0'),
        h('span', { title: red }, signed(scale), h('br'), clip(red)),
      ),
    );
  }

  function facts(data, tile, { number, file, label, width, height }) {
    const { patches } = data;
    const list = patches.list[tile];
    const error = patches.error[tile];
    const of = data.lists[list].total.toLocaleString('en');
    const thumb = h('div', { class: 'tile', role: 'img', 'aria-label': 'The patch' });
    page.paintTile(thumb, tile, data);
    const rows = [
      ['File', file],
      ['Label', label],
      label === data.label ? null : ['Scored under', data.label],
      [
        'Rank',
        `${patches.rank[tile].toLocaleString('en')} of ${of} (${page.run.words.lists[list].name.toLowerCase()})`,
      ],
      patches.cluster[tile] === null
        ? null
        : [
            'Cluster',
            `${patches.cluster[tile]}` +
              (patches.distance[tile] === null ? '' : `, ${plain(patches.distance[tile])} from its center`),
          ],
      ['Samples', patches.samples[tile].toLocaleString('en')],
      [
        'Box',
        `${tenths(patches.width[tile])} × ${tenths(patches.height[tile])} px at ${tenths(patches.x[tile])}, ${tenths(patches.y[tile])}`,
      ],
      width ? ['Image', `${width} × ${height} px`] : null,
      data.prompt === null ? null : ['Prompt', data.prompt],
      ['Compared with', page.run.words.comparedWith],
    ].filter(Boolean);
    return h(
      'div',
      null,
      h(
        'div',
        { class: 'lead' },
        thumb,
        h(
          'div',
          null,
          h('p', { class: 'sub' }, page.run.words.score),
          h('p', { class: 'score' }, signed(patches.typicality[tile])),
          h(
            'p',
            { class: 'error', title: 'Standard error of the mean over the samples' },
            error === null ? 'no standard error' : `± ${plain(error)}`,
          ),
        ),
      ),
      h(
        'dl',
        { class: 'detail' },
        ...rows.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
      ),
      actions(data, tile, number),
      h(
        'p',
        { class: 'keys' },
        h('kbd', null, '←'),
        ' ',
        h('kbd', null, '→'),
        ' patches  ',
        h('kbd', null, 'H'),
        ' map  ',
        h('kbd', null, 'Esc'),
        ' close',
      ),
    );
  }

  /** What can be done with the patch: put it in the basket, look at its image. */
  function actions(data, tile, number) {
    const { basket, run, go } = page;
    const at = run.labels.findIndex(({ label }) => label === data.label);
    const id = `${at}/${tile}`;
    const { patches } = data;
    const [, image, label, imageWidth, imageHeight] = data.images[patches.image[tile]];
    const item = {
      id,
      at,
      tile,
      number,
      image,
      label,
      condition: data.label,
      list: patches.list[tile],
      rank: patches.rank[tile],
      cluster: patches.cluster[tile],
      x: patches.x[tile],
      y: patches.y[tile],
      width: patches.width[tile],
      height: patches.height[tile],
      typicality: patches.typicality[tile],
      standard_error: patches.error[tile],
      imageWidth,
      imageHeight,
    };
    const name = () => (basket.has(id) ? 'Remove from basket' : 'Add to basket');
    const keep = h(
      'button',
      {
        type: 'button',
        class: 'plain',
        id: 'dialog-keep',
        onclick: () => {
          if (basket.has(id)) basket.remove(id);
          else basket.add(item);
          keep.textContent = name();
        },
      },
      name(),
    );
    return h(
      'div',
      { class: 'actions' },
      keep,
      run.map
        ? h(
            'button',
            { type: 'button', class: 'plain', onclick: () => go({ label: 'image', image: number }) },
            'Image page',
          )
        : null,
    );
  }

  function close() {
    if ($('dialog').open) $('dialog').close();
  }

  $('dialog').addEventListener('cancel', (event) => {
    event.preventDefault();
    page.leave();
  });
  $('dialog').addEventListener('click', (event) => event.target === $('dialog') && page.leave());
  return { open, close };
};
