// Patches of sprite sheets, painted as backgrounds of elements of any size.
'use strict';

/** @param sheet columns and rows of a full sprite sheet, from the run's data */
diffmine.tiles = ({ columns, rows }) => {
  const most = columns * rows;
  const percent = (index, n) => (n > 1 ? (100 * index) / (n - 1) : 0);
  const fileOf = (name, tile) => `sprites/${name}-${Math.floor(tile / most)}.webp`;

  /** @param name of the sprite sheets: a label's number, or t; `total`: tiles that they hold together */
  function paint(element, name, tile, total) {
    const sheet = Math.floor(tile / most);
    const place = tile % most;
    const down = Math.min(rows, Math.ceil((total - sheet * most) / columns));
    element.style.backgroundImage = `url("${fileOf(name, tile)}")`;
    element.style.backgroundSize = `${columns * 100}% ${down * 100}%`;
    element.style.backgroundPosition = `${percent(place % columns, columns)}% ${percent(Math.floor(place / columns), down)}%`;
    return element;
  }

  /** Where a tile is in its sprite sheet, in tiles. */
  const placeOf = (tile) => ({ column: (tile % most) % columns, row: Math.floor((tile % most) / columns) });
  return { paint, fileOf, placeOf };
};
