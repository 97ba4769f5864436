// Reads values off the charts: with the pointer, a finger or the arrow keys; all charts show the same step.
'use strict';

(() => {
  const charts = [];
  const short = (value) =>
    value === null
      ? 'not finite'
      : (value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential() : String(value)).replaceAll('-', '−');
  const whole = (value) => value.toLocaleString('en');

  function svg(name, attributes, parent) {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    parent.append(element);
    return element;
  }

  /** The index of the step nearest to `step`. */
  function nearest(steps, step) {
    let low = 0;
    let high = steps.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle;
      else high = middle;
    }
    return step - steps[low] <= steps[high] - step ? low : high;
  }

  function show(step) {
    for (const { data, read, cursor, dot, probe } of charts) {
      const at = nearest(data.steps, step);
      const value = data.values[at];
      const soft = data.smooth ? data.smooth[at] : null;
      const found = data.steps[at];
      const text = `${data.smooth && soft !== null ? `${short(soft)} smoothed, ` : ''}${short(value)} at step ${whole(found)}`;
      const x = `${(100 * found) / Math.max(1, data.last)}%`;
      const of = soft === null ? value : soft;
      read.textContent = text;
      cursor.setAttribute('x1', x);
      cursor.setAttribute('x2', x);
      const y = of === null ? -1 : data.height * (1 - (of - data.low) / (data.high - data.low));
      dot.setAttribute('cx', x);
      dot.setAttribute('cy', y);
      dot.setAttribute('visibility', y < 0 || y > data.height ? 'hidden' : 'visible');
      probe.setAttribute('aria-valuenow', found);
      probe.setAttribute('aria-valuetext', text);
    }
    document.documentElement.classList.add('reading');
  }

  function rest() {
    for (const { read } of charts) read.textContent = read.dataset.rest;
    document.documentElement.classList.remove('reading');
  }

  const all = JSON.parse(document.getElementById('curves').textContent);
  for (const section of document.querySelectorAll('.chart')) {
    const data = all[section.dataset.chart];
    if (data.steps.length === 0) continue;
    const layer = section.querySelector('.drawing > g');
    const cursor = svg('line', { class: 'cursor', y1: 0, y2: data.height }, layer);
    const dot = svg('circle', { class: 'dot', r: 4.5 }, layer);
    const probe = document.createElement('div');
    const last = data.steps.length - 1;
    for (const [name, value] of Object.entries({
      class: 'probe',
      role: 'slider',
      tabindex: '0',
      'aria-label': `${section.querySelector('h3').textContent}: step to read`,
      'aria-valuemin': data.steps[0],
      'aria-valuemax': data.steps[last],
      'aria-valuenow': data.steps[last],
      'aria-valuetext': section.querySelector('.read').dataset.rest,
    }))
      probe.setAttribute(name, value);
    section.querySelector('.field').append(probe);
    charts.push({ data, read: section.querySelector('.read'), cursor, dot, probe });

    let at = last;
    const pointed = (event) => {
      const box = probe.getBoundingClientRect();
      const step = ((event.clientX - box.left) / box.width) * data.last;
      at = nearest(data.steps, step);
      show(data.steps[at]);
    };
    probe.addEventListener('pointermove', pointed);
    probe.addEventListener('pointerdown', pointed);
    probe.addEventListener('pointerleave', rest);
    probe.addEventListener('pointercancel', rest);
    probe.addEventListener('blur', rest);
    probe.addEventListener('keydown', (event) => {
      const far = Math.max(1, Math.round(last / 20));
      const next = {
        ArrowRight: at + 1,
        ArrowUp: at + 1,
        ArrowLeft: at - 1,
        ArrowDown: at - 1,
        PageUp: at + far,
        PageDown: at - far,
        Home: 0,
        End: last,
      }[event.key];
      if (event.key === 'Escape') rest();
      if (next === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      at = Math.max(0, Math.min(last, next));
      show(data.steps[at]);
    });
  }
})();
