// The patches of the map, decoded from data/map.js.
'use strict';

(() => {
  /** Cells of the index, a side. */
  const CELLS = 64;
  const NONE = 65_535;

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const decoded = (Type, text) => new Type(bytes(text).buffer);
  function steps({ low, high, data }) {
    const whole = decoded(Uint16Array, data);
    const values = new Float32Array(whole.length);
    whole.forEach((step, i) => (values[i] = step === NONE ? NaN : low + ((high - low) * step) / (NONE - 1)));
    return values;
  }

  /** Called by data/map.js; null where nothing was laid out. Else diffmine.patches has what is known of each patch, by number. */
  diffmine.map = (data) => {
    if (!data) {
      diffmine.patches = null;
      return;
    }
    const error = steps(data.error);
    const cluster = decoded(Uint16Array, data.cluster);
    const map = {
      ...data,
      x: steps({ ...data.x, low: 0, high: 1 }),
      y: steps({ ...data.y, low: 0, high: 1 }),
      typicality: steps(data.typicality),
      error: { at: (i) => (Number.isNaN(error[i]) ? null : error[i]) },
      label: decoded(Uint16Array, data.label),
      tile: decoded(Uint16Array, data.tile),
      rank: decoded(Uint32Array, data.rank),
      image: decoded(Uint32Array, data.image),
      box: decoded(Float32Array, data.box),
      neighbors: decoded(Uint32Array, data.neighbors),
      low: data.typicality.low,
      high: data.typicality.high,
      clusterOf: (i) => (cluster[i] === NONE ? null : cluster[i]),
      side: CELLS,
      errors: [data.error.low, data.error.high],
    };
    map.cells = Array.from({ length: CELLS * CELLS }, () => []);
    const cellOf = (value) => Math.min(CELLS - 1, Math.floor(value * CELLS));
    // the most typical first: they get the thumbnails
    const order = [...map.label.keys()].sort((a, b) => map.typicality[b] - map.typicality[a]);
    for (const i of order) map.cells[cellOf(map.y[i]) * CELLS + cellOf(map.x[i])].push(i);
    diffmine.patches = map;
  };

  /** The number of the patch with this `id`; undefined where the map does not have it. */
  diffmine.patchOf = (page, id) => {
    const map = diffmine.patches;
    map.places ??= new Map([...map.label.keys()].map((i) => [diffmine.itemOf(page, i).id, i]));
    return map.places.get(id);
  };

  /** A patch as the basket keeps it. Its `id` holds after mining again, which gives patches other numbers. */
  diffmine.itemOf = (page, i) => {
    const { run } = page;
    const map = diffmine.patches;
    const [number, image, label, imageWidth, imageHeight] = map.images[map.image[i]];
    const [x, y, width, height] = map.box.subarray(4 * i, 4 * i + 4);
    const condition = run.labels[map.label[i]].label;
    return {
      id: JSON.stringify([condition, image, x, y, width, height]),
      number,
      image,
      label,
      condition,
      list: run.mine.rank,
      rank: map.rank[i],
      cluster: map.clusterOf(i),
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
})();
