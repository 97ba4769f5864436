// Elements of all labels over ordered labels: their curves, and their best patches in every label.
'use strict';

(() => {
  const { h, count } = diffmine.tools;
  const TITLES = {
    rising: ['Rising', 'More common from label to label'],
    falling: ['Falling', 'Less common from label to label'],
    passing: ['Passing', 'Most common somewhere in between'],
    steady: ['Steady', 'No course that is clear against the standard errors'],
  };
  const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
  const narrow = matchMedia('(max-width: 760px)');

  /** Called by data/trends.js; null where the run has none. */
  diffmine.trends = (data) => {
    if (!data) return;
    diffmine.courses = (page) => {
      const { labels, elements, shapes, tiles: total } = data;
      const row = (one) => {
        // the label with the most, whatever the course that was fitted
        const most = one.fraction.indexOf(Math.max(...one.fraction));
        const words = `Fraction of images with element ${one.element}: ${labels
          .map(({ label }, i) => `${label} ${percent(one.fraction[i])} ± ${percent(one.error[i])}`)
          .join(', ')}`;
        const chart = diffmine.curve(
          labels.map(({ label }, i) => ({
            name: label,
            value: one.fraction[i],
            error: one.error[i],
            strong: i === most,
          })),
          { joined: true, words, zero: true, height: 80, width: narrow.matches ? 360 : 720 },
        );
        const course = h(
          'section',
          { class: 'course', 'aria-label': `Element ${one.element}` },
          h(
            'div',
            { class: 'about' },
            h('h4', null, `Element ${one.element}`),
            h('p', null, count(one.size, 'ranked patch', 'ranked patches')),
            h('p', null, 'clarity ', h('span', { class: 'value' }, one.clarity.toFixed(1))),
            h(
              'p',
              null,
              `most common in ${labels[most].label}: `,
              h('span', { class: 'value' }, percent(one.fraction[most])),
            ),
          ),
          h(
            'div',
            { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `Element ${one.element} over the labels` },
            chart,
            h(
              'ol',
              { class: 'columns' },
              ...labels.map(({ label }, i) =>
                h(
                  'li',
                  null,
                  h(
                    'span',
                    { class: 'caption' },
                    label,
                    ' ',
                    h('span', { class: 'value' }, `${Math.round(100 * one.fraction[i])} %`),
                  ),
                  ...one.patches[i].map(([tile, image, number]) => {
                    const words = `Element ${one.element} in ${label}: ${image}`;
                    const open = number !== null && page.run.map;
                    const element = open
                      ? h('button', {
                          class: 'tile',
                          type: 'button',
                          title: words,
                          'aria-label': words,
                          onclick: () => page.go({ label: 'image', image: number }),
                        })
                      : h('span', { class: 'tile', role: 'img', title: words, 'aria-label': words });
                    return page.tiles.paint(element, 't', tile, total);
                  }),
                ),
              ),
            ),
          ),
        );
        course.style.setProperty('--labels', labels.length);
        return course;
      };
      return [
        h(
          'div',
          { class: 'head' },
          h(
            'div',
            null,
            h('h2', null, 'Trends'),
            h(
              'p',
              { class: 'sub' },
              `Elements of all labels together, and the fraction of images that have them, with standard errors over ${Math.min(...labels.map(({ images }) => images)).toLocaleString('en')} or more images per label. The clearest courses come first.`,
            ),
          ),
        ),
        ...Object.entries(TITLES).flatMap(([shape, [title, about]]) => {
          const own = elements.filter((one) => one.shape === shape);
          if (own.length === 0) return [];
          const more = shapes[shape] > own.length ? ` The first ${own.length} of ${shapes[shape]}.` : '';
          return [
            h(
              'section',
              { class: 'part' },
              h('h3', null, title),
              h('p', { class: 'sub' }, `${about}.${more}`),
              ...own.map(row),
            ),
          ];
        }),
      ];
    };
  };
})();
