// One sequence in a dialog: its image under every label, the place in each, and its numbers.
'use strict';

/** @param run the page's data; open(group, at): shows place `at` of a group { title, members } */
diffmine.sequence = (run) => {
  const { $, h, icon, signed, plain, tenths } = diffmine.tools;
  const dialog = $('dialog');

  function frame(place, index) {
    const label = run.labels[index];
    const size = place.sizes[index];
    const isSource = place.label === index;
    const holder = h('div', { class: `frame${isSource ? ' source' : ''}` });
    if (size) {
      const [width, height] = size;
      const [x, y, w, hh] = place.box;
      holder.style.setProperty('--shape', width / height);
      const image = h('img', {
        src: `images/${place.number}-${index}.webp`,
        alt: `${place.sequence} as ${label}`,
        width,
        height,
      });
      image.addEventListener('error', () => holder.append(h('p', { class: 'notice' }, 'This image is missing.')));
      const box = h('div', { class: 'box' });
      box.style.left = `${(100 * x) / width}%`;
      box.style.top = `${(100 * y) / height}%`;
      box.style.width = `${(100 * w) / width}%`;
      box.style.height = `${(100 * hh) / height}%`;
      holder.append(image, box);
    }
    const value = place.typicality[index];
    return h(
      'figure',
      null,
      holder,
      h(
        'figcaption',
        null,
        h('b', null, isSource ? `${label}, source` : label),
        h('span', null, value === null ? '' : signed(value)),
      ),
    );
  }

  function open(group, at) {
    const place = run.places[group.members[at]];
    const go = (by) => () => open(group, at + by);
    const button = (id, name, path, action, disabled) =>
      h(
        'button',
        { class: 'icon', type: 'button', id, 'aria-label': name, title: name, disabled, onclick: action },
        icon(path),
      );
    const [last] = [group.members.length - 1];
    dialog.onkeydown = (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === 'ArrowLeft' && at > 0) go(-1)();
      else if (event.key === 'ArrowRight' && at < last) go(1)();
      else return;
      event.preventDefault();
    };
    const focused = dialog.open ? document.activeElement?.id : '';
    const [x, y, w, hh] = place.box;
    const numbers = [
      ['Co-typicality', signed(place.cotypicality)],
      ['Rank', `${place.rank.toLocaleString('en')} of ${run.grouped.toLocaleString('en')}`],
      place.distance === null ? null : ['Distance to center', plain(place.distance)],
      ['Place', `${tenths(w)} × ${tenths(hh)} px at ${tenths(x)}, ${tenths(y)}`],
      ['Source', place.image],
    ].filter(Boolean);
    dialog.replaceChildren(
      h(
        'div',
        { class: 'strip' },
        h(
          'h2',
          { id: 'dialog-title' },
          `${group.title} `,
          h('span', null, `· sequence ${at + 1} of ${group.members.length}`),
        ),
        button('previous', 'Previous sequence', 'M15 5l-7 7 7 7', go(-1), at === 0),
        button('next', 'Next sequence', 'M9 5l7 7-7 7', go(1), at === last),
        button('close', 'Close', 'M6 6l12 12M18 6L6 18', () => dialog.close(), false),
      ),
      h(
        'div',
        { class: 'body' },
        h(
          'dl',
          { class: 'numbers' },
          ...numbers.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
        ),
        h('div', { class: 'frames' }, ...run.labels.map((_, index) => frame(place, index))),
      ),
    );
    if (!dialog.open) dialog.showModal();
    const focus = focused && $(focused);
    if (focus && !focus.disabled) focus.focus();
    else $(at < last ? 'next' : 'close').focus();
  }

  dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
  return { open };
};
