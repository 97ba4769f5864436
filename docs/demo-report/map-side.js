// What stands beside the map: the selected patch, the selection, and the basket.
'use strict';

/** @param actions.choose selects a patch and others with it; `similar` those that are like one */
diffmine.mapSide = (map, page, { selected, chosen, choose, similar }) => {
  const { h, clip, count, plain, signed } = diffmine.tools;
  const { run, tiles, basket } = page;
  /** Tiles of a selection. */
  const SHOWN = 60;

  const element = h('div', { class: 'map-side' });
  const tileOf = (i, attributes) =>
    tiles.paint(
      h('button', { class: 'tile', type: 'button', ...attributes }),
      map.label[i],
      map.tile[i],
      run.labels[map.label[i]].patches,
    );
  const button = (name, onclick, attributes) =>
    h('button', { type: 'button', class: 'plain', onclick, ...attributes }, name);

  const buttons = () => [...element.querySelectorAll('button:enabled')];

  /** Shows what is chosen. The button with the focus keeps it, or that in its place gets it. */
  function show() {
    const { at } = chosen;
    const parts = [];
    if (at >= 0) {
      const item = diffmine.itemOf(page, at);
      const kept = basket.has(item.id);
      parts.push(
        h(
          'section',
          { class: 'picked', 'aria-label': 'Selected patch' },
          tileOf(at, { 'aria-label': 'Open the selected patch', onclick: () => page.go(page.addressOf(at)) }),
          h(
            'div',
            null,
            h('p', null, h('strong', null, item.condition), item.cluster === null ? '' : ` · cluster ${item.cluster}`),
            h(
              'p',
              { class: 'sub' },
              `${signed(item.typicality)}${item.standard_error === null ? '' : ` ± ${plain(item.standard_error)}`}`,
            ),
            h('p', { class: 'sub', title: item.image }, clip(item.image, 34)),
          ),
          h(
            'div',
            { class: 'actions' },
            button('Similar patches', () => similar(at), { id: 'similar' }),
            button(
              kept ? 'Remove from basket' : 'Add to basket',
              () => (kept ? basket.remove(item.id) : basket.add(item)),
              { id: 'keep' },
            ),
            button('Image page', () => page.go({ label: 'image', image: item.number })),
          ),
        ),
      );
    }
    const shown = [...selected].slice(0, SHOWN);
    if (selected.size > 1)
      parts.push(
        h(
          'section',
          { 'aria-label': 'Selection' },
          h('h3', null, `${count(selected.size, 'patch', 'patches')} selected`),
          h(
            'div',
            { class: 'actions' },
            button('Add all to basket', () => basket.add(...[...selected].map((i) => diffmine.itemOf(page, i))), {
              id: 'keep-all',
            }),
            button('Clear selection', () => choose(-1, []), { id: 'clear' }),
          ),
          h(
            'div',
            { class: 'small-tiles' },
            ...shown.map((i) =>
              tileOf(i, {
                title: `${run.labels[map.label[i]].label} ${signed(map.typicality[i])}`,
                'aria-label': `Select this patch of ${run.labels[map.label[i]].label}, typicality ${signed(map.typicality[i])}`,
                onclick: () => choose(i, [...selected]),
              }),
            ),
          ),
          selected.size > SHOWN ? h('p', { class: 'sub' }, `The first ${SHOWN}.`) : null,
        ),
      );
    if (parts.length === 0)
      parts.push(h('p', { class: 'sub' }, 'Select a patch on the map, or draw a lasso around several.'));
    const focused = element.contains(document.activeElement) ? document.activeElement : null;
    const place = focused && buttons().indexOf(focused);
    element.replaceChildren(...parts, basketPanel());
    if (!focused) return;
    const now = buttons();
    (now.find(({ id }) => id !== '' && id === focused.id) ?? now[Math.min(place, now.length - 1)])?.focus();
  }

  /** The basket, as it is shown beside the map. */
  function basketPanel() {
    const items = basket.list();
    const item = (name, id, onclick) =>
      h('button', { type: 'button', class: 'plain', id, onclick, disabled: items.length === 0 }, name);
    return h(
      'section',
      { class: 'basket', 'aria-label': 'Basket' },
      h('h3', null, `Basket: ${count(items.length, 'patch', 'patches')}`),
      h(
        'div',
        { class: 'actions' },
        item('Export CSV', 'csv', basket.csv),
        item('Export COCO', 'coco', basket.coco),
        item('Empty', 'empty', basket.clear),
      ),
      h(
        'div',
        { class: 'small-tiles' },
        ...items.map((item) => {
          const i = diffmine.patchOf(page, item.id);
          const attributes = {
            title: `Remove: ${item.condition}, ${item.image}`,
            'aria-label': `Remove this patch of ${item.condition} from the basket`,
            onclick: () => basket.remove(item.id),
          };
          // one that was kept before the run was mined again may not be on the map
          return i === undefined
            ? h('button', { class: 'tile gone', type: 'button', ...attributes })
            : tileOf(i, attributes);
        }),
      ),
    );
  }

  return { element, show };
};
