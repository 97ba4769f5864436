// Labels that a property of whole images tells from the others: a warning with a short table; without any, a sentence in "How to read this page".
'use strict';

diffmine.confounds = (() => {
  const { h, count } = diffmine.tools;
  const SHOWN = 12;
  const figure = (value) => (value === null ? '' : value.toFixed(2));

  return ({ images, properties, told, duplicates }, method) => {
    const listed = `${properties.slice(0, -1).join(', ')} or ${properties.at(-1)}`;
    if (told.length === 0 && duplicates === 0) {
      method.append(
        h(
          'p',
          null,
          h('strong', null, 'Confounds: '),
          `of ${count(images, 'image')} measured, no label can be told from the others by ${listed} alone.`,
        ),
      );
      return [];
    }
    const rows = told
      .slice(0, SHOWN)
      .map(({ label, property, auroc: [value, low, high] }) =>
        h(
          'tr',
          null,
          h('th', { scope: 'row' }, label),
          h('td', null, property),
          h('td', null, value > 0.5 ? 'more' : 'less'),
          h('td', null, `${figure(value)} [${figure(low)}, ${figure(high)}]`),
        ),
      );
    const head = ['Label', 'Property', 'Compared with other labels', 'AUROC, 95 % interval'];
    return [
      h(
        'section',
        { class: 'notice warning confounds', id: 'confounds' },
        told.length > 0
          ? h(
              'p',
              null,
              'Some labels can be told from the others without looking at any element. What is found for them may be that: compare the patches with care.',
            )
          : null,
        told.length > 0
          ? h(
              'table',
              null,
              h('thead', null, h('tr', null, ...head.map((name) => h('th', { scope: 'col' }, name)))),
              h('tbody', null, ...rows),
            )
          : null,
        told.length > SHOWN
          ? h('p', null, `And ${told.length - SHOWN} more: diffmine inspect DATASET lists them.`)
          : null,
        duplicates > 0
          ? h(
              'p',
              null,
              `${count(duplicates, 'pair')} of near-duplicate images under different labels: diffmine inspect DATASET lists them.`,
            )
          : null,
      ),
    ];
  };
})();
