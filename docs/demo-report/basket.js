// Patches that the reader has put aside, kept in this browser, exported as CSV or COCO.
'use strict';

/**
 * @param key what tells this run's basket from others
 * @param changed called after every change
 */
diffmine.basket = (key, root, changed) => {
  const place = `diffmine basket ${key}`;
  const items = new Map();
  try {
    for (const item of JSON.parse(localStorage.getItem(place) ?? '[]')) items.set(item.id, item);
  } catch {
    // a browser that keeps nothing for pages from disk: the basket lasts as long as the page
  }
  const save = () => {
    try {
      localStorage.setItem(place, JSON.stringify([...items.values()]));
    } catch {
      // as above
    }
    changed();
  };
  const list = () => [...items.values()];

  const COLUMNS = [
    'image',
    'label',
    'condition',
    'list',
    'rank',
    'cluster',
    'x',
    'y',
    'width',
    'height',
    'typicality',
    'standard_error',
  ];
  const cell = (value) => {
    const text = value === null || value === undefined ? '' : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = () =>
    [COLUMNS.join(','), ...list().map((item) => COLUMNS.map((name) => cell(item[name])).join(','))]
      .map((line) => `${line}\r\n`)
      .join('');

  function coco() {
    const images = new Map();
    const categories = new Map();
    const idOf = (known, name) => known.get(name) ?? known.set(name, known.size + 1).get(name);
    const annotations = list().map((item, i) => ({
      id: i + 1,
      image_id: idOf(images, item.image),
      category_id: idOf(categories, item.condition),
      bbox: [item.x, item.y, item.width, item.height],
      area: item.width * item.height,
      iscrowd: 0,
      score: item.typicality,
    }));
    const sizes = new Map(list().map((item) => [item.image, item]));
    return `${JSON.stringify(
      {
        info: { description: `Patches chosen in the diffmine report of ${root}` },
        images: [...images].map(([file_name, id]) => ({
          id,
          file_name,
          width: sizes.get(file_name).imageWidth,
          height: sizes.get(file_name).imageHeight,
        })),
        categories: [...categories].map(([name, id]) => ({ id, name })),
        annotations,
      },
      null,
      1,
    )}\n`;
  }

  function download(name, type, text) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  return {
    list,
    has: (id) => items.has(id),
    add(...more) {
      for (const item of more) items.set(item.id, item);
      save();
    },
    remove(id) {
      items.delete(id);
      save();
    },
    clear() {
      items.clear();
      save();
    },
    csv: () => download('patches.csv', 'text/csv', csv()),
    coco: () => download('patches.coco.json', 'application/json', coco()),
  };
};
