// Draws the map: a point per patch, thumbnails where there is room, rings around what is selected; one canvas for each of Leaflet's tiles.
'use strict';

/**
 * @param shown.visible 1 for patches that are drawn
 * @param shown.selected set of patches
 * @param shown.chosen `at`: the selected patch
 */
diffmine.mapCanvas = (map, { run, tiles }, { visible, selected, chosen, colorOf }) => {
  const { h } = diffmine.tools;
  /** The map is this many units wide and high: one tile of Leaflet's at zoom 0. */
  const SIDE = 256;
  /** One thumbnail in each such square of the screen, px. */
  const SPACING = 46;
  const THUMB = 38;
  /** Selected patches, from which dots stand for rings. */
  const MANY = 60;
  /**
   * Beside a tile, patches are seen as far as a square may reach of which a thumbnail reaches into the tile: else neighboring tiles would choose other
   * patches, and thumbnails would end at the edge of the tile.
   */
  const BESIDE = SPACING + THUMB / 2 + 2;
  const canvases = new Map();

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
  /** Repaints once, however many sprite sheets arrive in the meantime. */
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
    const margin = BESIDE / (SIDE * scale);
    const [left, top] = [column / scale - margin, row / scale - margin];
    const [right, bottom] = [(column + 1) / scale + margin, (row + 1) / scale + margin];
    const cell = (value) => Math.max(0, Math.min(map.side - 1, Math.floor(value * map.side)));
    const byColor = new Map();
    const thumbs = new Map();
    for (let v = cell(top); v <= cell(bottom); v++) {
      for (let u = cell(left); u <= cell(right); u++) {
        for (const i of map.cells[v * map.side + u]) {
          if (!visible[i]) continue;
          const x = (map.x[i] * scale - column) * SIDE;
          const y = (map.y[i] * scale - row) * SIDE;
          if (Math.min(x, y) < -BESIDE || Math.max(x, y) > SIDE + BESIDE) continue;
          // squares of the whole map, so that neighboring tiles choose the same patches
          const square = `${Math.floor((column * SIDE + x) / SPACING)} ${Math.floor((row * SIDE + y) / SPACING)}`;
          const best = thumbs.get(square);
          if (best === undefined || map.typicality[i] > map.typicality[best[0]]) thumbs.set(square, [i, x, y]);
          const points = byColor.get(colorOf(i));
          if (points) points.push(x, y);
          else byColor.set(colorOf(i), [x, y]);
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
    // rings of many would hide the patches
    const small = selected.size > MANY;
    for (const i of selected) {
      if (!visible[i]) continue;
      const x = (map.x[i] * scale - column) * SIDE;
      const y = (map.y[i] * scale - row) * SIDE;
      if (small && i !== chosen.at) dot(context, x, y);
      else ring(context, x, y, i === chosen.at ? 9 : 6, i === chosen.at);
    }
  }

  function thumbnail(context, i, x, y) {
    const sheet = sheetOf(i);
    if (!sheet) return;
    const { tile } = run.sheet;
    const { column, row } = tiles.placeOf(map.tile[i]);
    const half = THUMB / 2;
    context.fillStyle = colorOf(i);
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

  function dot(context, x, y) {
    context.fillStyle = '#000';
    context.fillRect(x - 2.5, y - 2.5, 5, 5);
    context.fillStyle = '#ffdd2d';
    context.fillRect(x - 1.5, y - 1.5, 3, 3);
  }

  /** A tile of Leaflet's. */
  function create(coords) {
    const canvas = h('canvas', { 'aria-hidden': 'true' });
    canvas.width = canvas.height = SIDE * Math.min(2, devicePixelRatio || 1);
    canvases.set(canvas, { canvas, coords });
    paint(canvas, coords);
    return canvas;
  }

  return { SIDE, create, repaint, remove: (canvas) => canvases.delete(canvas) };
};
