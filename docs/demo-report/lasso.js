// A lasso over an element: drawn with the pointer, it tells which points are inside.
'use strict';

/** @param drawn called with (x, y) => whether that point of the element, px, is inside */
diffmine.lasso = (drawn) => {
  const { h, svg } = diffmine.tools;
  const line = svg('polygon', {});
  const cover = h('div', { class: 'lasso', hidden: true }, svg('svg', { 'aria-hidden': 'true' }, line));
  let path = null;

  const at = (event) => {
    const { left, top } = cover.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  cover.addEventListener('pointerdown', (event) => {
    path = [at(event)];
    cover.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  cover.addEventListener('pointermove', (event) => {
    if (!path) return;
    path.push(at(event));
    line.setAttribute('points', path.map((one) => one.join(',')).join(' '));
  });
  cover.addEventListener('pointerup', () => {
    if (!path) return;
    const outline = path;
    path = null;
    line.setAttribute('points', '');
    drawn((x, y) => within(outline, x, y));
  });
  for (const name of ['mousedown', 'click', 'dblclick', 'touchstart'])
    cover.addEventListener(name, (event) => event.stopPropagation());

  /** Whether a point is inside a polygon (even-odd). */
  function within(path, x, y) {
    let inside = false;
    for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
      const [[a, b], [c, d]] = [path[i], path[j]];
      if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) inside = !inside;
    }
    return inside;
  }

  return cover;
};
