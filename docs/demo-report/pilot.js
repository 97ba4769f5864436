// What the scan's pilot measured: the ratio of contrast to noise by timestep, with the range that was sampled.
'use strict';

diffmine.pilot = (() => {
  const { h, count, plain } = diffmine.tools;
  const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [520, 180, 44, 34, 10];

  function svg(tag, attributes, ...children) {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    element.append(...children);
    return element;
  }

  return ({ timesteps, contrast, noise, images, patch }, { tBegin, tEnd }) => {
    const ratios = contrast.map((value, i) => (noise[i] > 0 ? value / noise[i] : 0));
    const most = Math.max(...ratios) || 1;
    const half = timesteps.length > 1 ? (timesteps[1] - timesteps[0]) / 2 : 1;
    const [from, to] = [Math.min(tBegin, timesteps[0] - half), Math.max(tEnd, timesteps.at(-1) + half)];
    const x = (t) => LEFT + ((WIDTH - LEFT - 10) * (t - from)) / (to - from);
    const y = (ratio) => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (ratio / most);
    const text = (at, line, anchor, words) => svg('text', { x: at, y: line, 'text-anchor': anchor }, words);
    const words = `Contrast divided by the noise of one sample, by timestep, for patches of ${patch} px: measured on ${count(images, 'image')} before the scan.`;
    return h(
      'figure',
      { class: 'pilot' },
      svg(
        'svg',
        { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': `${words} Largest ratio: ${plain(most)}.` },
        svg('rect', { class: 'range', x: x(tBegin), y: TOP, width: x(tEnd) - x(tBegin), height: y(0) - TOP }),
        svg('line', { class: 'axis', x1: LEFT, x2: WIDTH - 10, y1: y(0), y2: y(0) }),
        svg('polyline', { class: 'ratio', points: timesteps.map((t, i) => `${x(t)},${y(ratios[i])}`).join(' ') }),
        text(LEFT - 8, y(most) + 4, 'end', plain(most)),
        text(LEFT - 8, y(0) + 4, 'end', '0'),
        text(x(tBegin), y(0) + 18, 'middle', String(tBegin)),
        text(x(tEnd), y(0) + 18, 'middle', String(tEnd)),
      ),
      h('figcaption', null, `${words} Shaded: the timesteps of the scan.`),
    );
  };
})();
