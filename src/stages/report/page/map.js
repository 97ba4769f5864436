// The map of patches: patches of all labels laid out by their features, drawn on Leaflet's tiles. Pan, zoom, lasso, filters, similar patches, the basket.
/* global L, Image, requestAnimationFrame, devicePixelRatio, matchMedia, atob, diffmine */
'use strict';

(() => {
  const { h, svg, clip, count, plain, signed } = diffmine.tools;
  /** The map is this many units wide and high: one tile of Leaflet's at zoom 0. */
  const SIDE = 256;
  /** Cells of the index, a side. */
  const CELLS = 64;
  /** One thumbnail in each such square of the screen, px. */
  const SPACING = 46;
  const THUMB = 38;
  const NONE = 65_535;
  const SHOWN = 60;
  const COLORS = [
    '#3b7dd8',
    '#e07b28',
    '#2f9e62',
    '#c8417a',
    '#8a63d2',
    '#b39b1f',
    '#2aa5ad',
    '#d14b3f',
    '#6f8f2c',
    '#a8643a',
    '#5a6fd0',
    '#cc6fb4',
  ];

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const decoded = (Type, text) => new Type(bytes(text).buffer);
  function steps({ low, high, data }) {
    const whole = decoded(Uint16Array, data);
    const values = new Float32Array(whole.length);
    whole.forEach((step, i) => (values[i] = step === NONE ? NaN : low + ((high - low) * step) / (NONE - 1)));
    return values;
  }

  let map = null;
  /** Called by data/map.js; null where nothing was laid out. */
  diffmine.map = (data) => {
    if (!data) {
      diffmine.patches = null;
      return;
    }
    const error = steps(data.error);
    map = {
      ...data,
      x: steps({ ...data.x, low: 0, high: 1 }),
      y: steps({ ...data.y, low: 0, high: 1 }),
      typicality: steps(data.typicality),
      error: { at: (i) => (Number.isNaN(error[i]) ? null : error[i]) },
      label: decoded(Uint16Array, data.label),
      tile: decoded(Uint16Array, data.tile),
      cluster: decoded(Uint16Array, data.cluster),
      rank: decoded(Uint32Array, data.rank),
      image: decoded(Uint32Array, data.image),
      box: decoded(Float32Array, data.box),
      neighbors: decoded(Uint32Array, data.neighbors),
      low: data.typicality.low,
      high: data.typicality.high,
      errors: [data.error.low, data.error.high],
    };
    map.cells = Array.from({ length: CELLS * CELLS }, () => []);
    const cellOf = (value) => Math.min(CELLS - 1, Math.floor(value * CELLS));
    // the most typical first: they get the thumbnails
    const order = [...map.label.keys()].sort((a, b) => map.typicality[b] - map.typicality[a]);
    for (const i of order) map.cells[cellOf(map.y[i]) * CELLS + cellOf(map.x[i])].push(i);
    diffmine.patches = map;
  };

  /** What is chosen on the map; kept while other pages are shown. */
  const chosen = { color: 'label', labels: null, least: null, most: null, selected: [], at: -1, view: null };

  /** A patch as the basket keeps it. */
  diffmine.itemOf = (page, i) => {
    const { run } = page;
    const [number, image, label, imageWidth, imageHeight] = map.images[map.image[i]];
    const [x, y, width, height] = map.box.subarray(4 * i, 4 * i + 4);
    const condition = run.labels[map.label[i]].label;
    return {
      id: `${map.label[i]}/${map.tile[i]}`,
      at: map.label[i],
      tile: map.tile[i],
      number,
      image,
      label,
      condition,
      list: run.mine.rank,
      rank: map.rank[i],
      cluster: map.cluster[i] === NONE ? null : map.cluster[i],
      x,
      y,
      width,
      height,
      typicality: Number(map.typicality[i].toPrecision(6)),
      standard_error: map.error.at(i) === null ? null : Number(map.error.at(i).toPrecision(4)),
      imageWidth,
      imageHeight,
    };
  };

  /** The page's elements; `shown` is called when they are in the document. */
  diffmine.mapPage = (page) => {
    const { run, tiles, basket } = page;
    const visible = new Uint8Array(map.count);
    const selected = new Set(chosen.selected);
    let leaflet;
    let layer;
    const canvases = new Map();

    // ------------------------------------------------------------------------------------------ colors and filters

    const ramp = (t) => `hsl(${Math.round(230 - 215 * t)} 75% ${Math.round(52 - 6 * t)}%)`;
    const colorOf = (i) => {
      if (chosen.color === 'typicality') return ramp((map.typicality[i] - map.low) / (map.high - map.low || 1));
      if (chosen.color === 'cluster') {
        const hue = (map.label[i] * 137.5 + (map.cluster[i] === NONE ? 0 : map.cluster[i] * 47.3)) % 360;
        return `hsl(${Math.round(hue)} 62% 50%)`;
      }
      return labelColor(map.label[i]);
    };
    const labelColor = (label) =>
      label < COLORS.length ? COLORS[label] : `hsl(${Math.round((label * 137.5) % 360)} 60% 50%)`;
    let colors = [];
    const recolor = () => (colors = Array.from({ length: map.count }, (_, i) => colorOf(i)));

    const status = h('p', { class: 'sub', role: 'status', id: 'map-count' });
    function filter() {
      let shown = 0;
      for (let i = 0; i < map.count; i++) {
        const error = map.error.at(i);
        const keep =
          (chosen.labels === null || chosen.labels.has(map.label[i])) &&
          (chosen.least === null || map.typicality[i] >= chosen.least) &&
          (chosen.most === null || (error !== null && error <= chosen.most));
        visible[i] = keep ? 1 : 0;
        shown += keep ? 1 : 0;
      }
      status.textContent =
        shown === map.count
          ? count(shown, 'patch', 'patches')
          : `${shown.toLocaleString('en')} of ${count(map.count, 'patch', 'patches')}`;
      repaint();
    }

    // ------------------------------------------------------------------------------------------ drawing

    const sheets = new Map();
    /** A sprite sheet's image; undefined until it is loaded. */
    function sheetOf(i) {
      const file = tiles.fileOf(map.label[i], map.tile[i]);
      let sheet = sheets.get(file);
      if (!sheet) {
        sheet = { image: new Image(), ready: false };
        sheets.set(file, sheet);
        sheet.image.onload = () => {
          sheet.ready = true;
          soon();
        };
        sheet.image.src = file;
      }
      return sheet.ready ? sheet.image : undefined;
    }
    let waiting = false;
    /** Repaints once, however many sheets arrive in the meantime. */
    function soon() {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        repaint();
      });
    }
    const repaint = () => canvases.forEach(({ canvas, coords }) => paint(canvas, coords));

    function paint(canvas, { x: column, y: row, z }) {
      const context = canvas.getContext('2d');
      const ratio = canvas.width / SIDE;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, SIDE, SIDE);
      const scale = 2 ** z;
      const radius = Math.min(6, 1.6 + 0.6 * z);
      const margin = (THUMB + 8) / (SIDE * scale);
      const [left, top] = [column / scale - margin, row / scale - margin];
      const [right, bottom] = [(column + 1) / scale + margin, (row + 1) / scale + margin];
      const cell = (value) => Math.max(0, Math.min(CELLS - 1, Math.floor(value * CELLS)));
      const byColor = new Map();
      const thumbs = new Map();
      for (let v = cell(top); v <= cell(bottom); v++) {
        for (let u = cell(left); u <= cell(right); u++) {
          for (const i of map.cells[v * CELLS + u]) {
            if (!visible[i]) continue;
            const x = (map.x[i] * scale - column) * SIDE;
            const y = (map.y[i] * scale - row) * SIDE;
            if (x < -THUMB || y < -THUMB || x > SIDE + THUMB || y > SIDE + THUMB) continue;
            // squares of the whole map, so that neighboring tiles choose the same patches
            const square = `${Math.floor((column * SIDE + x) / SPACING)} ${Math.floor((row * SIDE + y) / SPACING)}`;
            const best = thumbs.get(square);
            if (best === undefined || map.typicality[i] > map.typicality[best[0]]) thumbs.set(square, [i, x, y]);
            const points = byColor.get(colors[i]);
            if (points) points.push(x, y);
            else byColor.set(colors[i], [x, y]);
          }
        }
      }
      context.globalAlpha = 0.8;
      for (const [color, points] of byColor) {
        context.fillStyle = color;
        for (let p = 0; p < points.length; p += 2)
          context.fillRect(points[p] - radius, points[p + 1] - radius, 2 * radius, 2 * radius);
      }
      context.globalAlpha = 1;
      for (const [i, x, y] of thumbs.values()) thumbnail(context, i, x, y);
      for (const i of selected) {
        if (!visible[i]) continue;
        const x = (map.x[i] * scale - column) * SIDE;
        const y = (map.y[i] * scale - row) * SIDE;
        ring(context, x, y, i === chosen.at ? 9 : 6, i === chosen.at);
      }
    }

    function thumbnail(context, i, x, y) {
      const sheet = sheetOf(i);
      if (!sheet) return;
      const { tile } = run.sheet;
      const { column, row } = tiles.placeOf(map.tile[i]);
      const half = THUMB / 2;
      context.fillStyle = colors[i];
      context.fillRect(x - half - 2, y - half - 2, THUMB + 4, THUMB + 4);
      context.drawImage(sheet, column * tile, row * tile, tile, tile, x - half, y - half, THUMB, THUMB);
    }

    function ring(context, x, y, radius, strong) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.lineWidth = strong ? 6 : 4;
      context.strokeStyle = '#000';
      context.stroke();
      context.lineWidth = strong ? 3 : 2;
      context.strokeStyle = '#ffdd2d';
      context.stroke();
    }

    // ------------------------------------------------------------------------------------------ choosing patches

    const point = (i) => L.latLng(-SIDE * map.y[i], SIDE * map.x[i]);
    /** The patch that is nearest to a place of the map, within so many pixels. */
    function nearest(latlng, within) {
      const here = leaflet.latLngToContainerPoint(latlng);
      let best = -1;
      let away = within;
      for (let i = 0; i < map.count; i++) {
        if (!visible[i]) continue;
        const there = leaflet.latLngToContainerPoint(point(i));
        const distance = Math.hypot(there.x - here.x, there.y - here.y);
        if (distance < away) [best, away] = [i, distance];
      }
      return best;
    }
    function choose(at, others = [at]) {
      chosen.at = at;
      selected.clear();
      for (const i of others) if (i >= 0) selected.add(i);
      chosen.selected = [...selected];
      repaint();
      showSide();
    }
    const inView = () => {
      const bounds = leaflet.getBounds();
      return [...map.label.keys()].filter((i) => visible[i] && bounds.contains(point(i)));
    };
    const similar = (i) =>
      choose(i, [
        i,
        ...[...map.neighbors.subarray(i * map.near, (i + 1) * map.near)].filter((other) => other < map.count),
      ]);

    // ------------------------------------------------------------------------------------------ beside the map

    const side = h('div', { class: 'map-side' });
    const tileOf = (i, attributes) =>
      tiles.paint(
        h('button', { class: 'tile', type: 'button', ...attributes }),
        map.label[i],
        map.tile[i],
        run.labels[map.label[i]].patches,
      );
    const button = (name, onclick, attributes) =>
      h('button', { type: 'button', class: 'plain', onclick, ...attributes }, name);

    function showSide() {
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
              h(
                'p',
                null,
                h('strong', null, item.condition),
                item.cluster === null ? '' : ` · cluster ${item.cluster}`,
              ),
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
      side.replaceChildren(...parts, diffmine.basketPanel(page));
    }
    page.onBasket = showSide;

    // ------------------------------------------------------------------------------------------ above the map

    const select = h(
      'select',
      {
        id: 'map-color',
        onchange: () => {
          chosen.color = select.value;
          recolor();
          repaint();
          key();
        },
      },
      ...[
        ['label', 'label'],
        ['cluster', 'cluster'],
        ['typicality', 'typicality'],
      ].map(([value, name]) => h('option', { value }, name)),
    );
    select.value = chosen.color;
    const legend = h('div', { class: 'map-key' });
    /** Which colors are which; the labels of the key are the filter by label. */
    function key() {
      const boxes = run.labels.map(({ label }, index) => {
        const box = h('input', {
          type: 'checkbox',
          onchange: () => {
            const on = chosen.labels ?? new Set(run.labels.keys());
            if (box.checked) on.add(index);
            else on.delete(index);
            chosen.labels = on.size === run.labels.length ? null : on;
            filter();
          },
        });
        box.checked = chosen.labels === null || chosen.labels.has(index);
        const swatch = h('i', { 'aria-hidden': 'true' });
        if (chosen.color === 'label') swatch.style.background = labelColor(index);
        else swatch.hidden = true;
        return h('label', { title: label }, box, swatch, clip(label, 24));
      });
      const scale = h('span', { class: 'ramp' });
      scale.style.backgroundImage = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(ramp).join(', ')})`;
      legend.replaceChildren(
        h('fieldset', null, h('legend', { class: 'unseen' }, 'Labels'), ...boxes),
        ...(chosen.color === 'typicality'
          ? [h('p', { class: 'sub scale' }, signed(map.low), ' ', scale, ' ', signed(map.high))]
          : []),
      );
    }
    /** A slider over a range of values; at its end it filters nothing. */
    function slider(name, id, [low, high], end, value, set) {
      const output = h('output', { for: id });
      const input = h('input', {
        type: 'range',
        id,
        min: '0',
        max: '100',
        step: '1',
        oninput: () => {
          const step = Number(input.value);
          const to = step === end ? null : low + ((high - low) * step) / 100;
          output.textContent = to === null ? 'any' : signed(to, high || 1).replace('+', '');
          set(to);
          filter();
        },
      });
      input.value = value === null ? String(end) : String(Math.round((100 * (value - low)) / (high - low || 1)));
      output.textContent = value === null ? 'any' : signed(value, high || 1).replace('+', '');
      return h('label', { class: 'slider' }, h('span', null, name), input, output);
    }

    const lasso = button('Lasso', () => setLasso(lasso.getAttribute('aria-pressed') !== 'true'), {
      id: 'lasso',
      'aria-pressed': 'false',
      title: 'Draw around patches (key L)',
    });
    const cover = h('div', { class: 'lasso', hidden: true });
    function setLasso(on) {
      lasso.setAttribute('aria-pressed', String(on));
      cover.hidden = !on;
    }
    function drawLasso() {
      let path = null;
      const line = svg('polygon', {});
      cover.append(svg('svg', { 'aria-hidden': 'true' }, line));
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
        const inside = [...map.label.keys()].filter((i) => {
          if (!visible[i]) return false;
          const { x, y } = leaflet.latLngToContainerPoint(point(i));
          return within(path, x, y);
        });
        path = null;
        line.setAttribute('points', '');
        setLasso(false);
        choose(inside[0] ?? -1, inside);
      });
      for (const name of ['mousedown', 'click', 'dblclick', 'touchstart'])
        cover.addEventListener(name, (event) => event.stopPropagation());
    }

    const canvas = h('div', {
      class: 'map',
      id: 'map',
      tabindex: '0',
      role: 'application',
      'aria-label':
        'Map of patches. Arrow keys pan, plus and minus zoom, Enter selects the patch nearest to the middle, S similar patches, B adds it to the basket, L draws a lasso.',
    });
    canvas.append(cover);
    canvas.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.target !== canvas) return;
      const { at } = chosen;
      const act = {
        Enter: () => choose(nearest(leaflet.getCenter(), Infinity)),
        l: () => setLasso(cover.hidden),
        s: () => at >= 0 && similar(at),
        b: () => at >= 0 && basket.add(diffmine.itemOf(page, at)),
        Escape: () => (cover.hidden ? choose(-1, []) : setLasso(false)),
      }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });

    const elements = [
      h(
        'div',
        { class: 'head' },
        h(
          'div',
          null,
          h('h2', null, 'Map of patches'),
          h('p', { class: 'sub' }, 'Patches of all labels: those that look alike to the model are near each other.'),
          status,
        ),
      ),
      h(
        'div',
        { class: 'map-tools' },
        h('label', null, 'Color by ', select),
        slider(
          'Typicality at least',
          'map-least',
          [map.low, map.high],
          0,
          chosen.least,
          (value) => (chosen.least = value),
        ),
        map.errors[1] > 0
          ? slider('Standard error at most', 'map-most', map.errors, 100, chosen.most, (value) => (chosen.most = value))
          : null,
        lasso,
        button(
          'Select all in view',
          () => {
            const all = inView();
            choose(all[0] ?? -1, all);
          },
          { id: 'in-view' },
        ),
        button('Whole map', () => leaflet.fitBounds(whole(), { animate: false }), { id: 'whole' }),
      ),
      legend,
      h('div', { class: 'map-body' }, canvas, side),
    ];
    const whole = () => L.latLngBounds([-SIDE, 0], [0, SIDE]);

    function shown() {
      const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
      leaflet = L.map(canvas, {
        crs: L.CRS.Simple,
        attributionControl: false,
        minZoom: 0,
        maxZoom: 9,
        zoomAnimation: !still,
        inertia: !still,
        fadeAnimation: false,
        doubleClickZoom: false,
        boxZoom: false,
        keyboardPanDelta: 120,
      });
      diffmine.leaflet = leaflet;
      const Patches = L.GridLayer.extend({
        createTile(coords) {
          const canvas = h('canvas', { 'aria-hidden': 'true' });
          canvas.width = canvas.height = SIDE * Math.min(2, devicePixelRatio || 1);
          canvases.set(canvas, { canvas, coords });
          paint(canvas, coords);
          return canvas;
        },
      });
      recolor();
      key();
      filter();
      if (chosen.view) leaflet.setView(chosen.view.center, chosen.view.zoom, { animate: false });
      else leaflet.fitBounds(whole(), { animate: false });
      layer = new Patches({
        keepBuffer: 1,
        updateWhenZooming: false,
        bounds: L.latLngBounds([-SIDE * 1.25, -SIDE * 0.25], [SIDE * 0.25, SIDE * 1.25]),
      });
      layer.on('tileunload', ({ tile }) => canvases.delete(tile));
      layer.addTo(leaflet);
      leaflet.on('moveend', () => (chosen.view = { center: leaflet.getCenter(), zoom: leaflet.getZoom() }));
      leaflet.on('click', ({ latlng }) => choose(nearest(latlng, 24)));
      drawLasso();
      showSide();
    }
    return { elements, shown, left: () => (leaflet.remove(), (page.onBasket = null)) };
  };

  /** Whether a point is inside a polygon (even-odd). */
  function within(path, x, y) {
    let inside = false;
    for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
      const [[a, b], [c, d]] = [path[i], path[j]];
      if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) inside = !inside;
    }
    return inside;
  }

  /** The basket, as it is shown beside the map. */
  diffmine.basketPanel = (page) => {
    const { basket, tiles, run } = page;
    const items = basket.list();
    const button = (name, id, onclick) =>
      h('button', { type: 'button', class: 'plain', id, onclick, disabled: items.length === 0 }, name);
    return h(
      'section',
      { class: 'basket', 'aria-label': 'Basket' },
      h('h3', null, `Basket: ${count(items.length, 'patch', 'patches')}`),
      h(
        'div',
        { class: 'actions' },
        button('Export CSV', 'csv', basket.csv),
        button('Export COCO', 'coco', basket.coco),
        button('Empty', 'empty', basket.clear),
      ),
      h(
        'div',
        { class: 'small-tiles' },
        ...items.map((item) =>
          tiles.paint(
            h('button', {
              class: 'tile',
              type: 'button',
              title: `Remove: ${item.condition}, ${item.image}`,
              'aria-label': `Remove this patch of ${item.condition} from the basket`,
              onclick: () => basket.remove(item.id),
            }),
            item.at,
            item.tile,
            run.labels[item.at].patches,
          ),
        ),
      ),
    );
  };
})();
