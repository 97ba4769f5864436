// Boxes: what they cover, and how they meet.

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Whether the centre of `patch` lies in `box`: its left and upper edges count, the others do not. */
export function centreIn(patch: Box, box: Box): boolean {
  const x = patch.x + patch.width / 2;
  const y = patch.y + patch.height / 2;
  return x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height;
}

/** Intersection over union. */
export function iou(a: Box, b: Box): number {
  const across = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const down = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  if (across <= 0 || down <= 0) return 0;
  return (across * down) / (a.width * a.height + b.width * b.height - across * down);
}

/** Edges in pixels of a mask; `right` and `bottom` are the first pixels outside. */
export interface Edges {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Sets the pixels of a mask of width x height between edges: truncated, cut at the picture. */
export function fillBetween(mask: Uint8Array, width: number, height: number, { left, top, right, bottom }: Edges): void {
  const clip = (value: number, side: number): number => Math.max(0, Math.min(side, Math.trunc(value)));
  const [first, end] = [clip(left, width), clip(right, width)];
  for (let y = clip(top, height); y < clip(bottom, height); y++) mask.fill(1, y * width + first, y * width + Math.max(first, end));
}

/** The boxes' union as a mask of width x height: corners truncated after adding, the far ones exclusive, cut at the picture. Boxes are in these pixels. */
export function boxMask(boxes: readonly Box[], width: number, height: number): Uint8Array {
  const mask = new Uint8Array(width * height);
  for (const { x, y, width: w, height: h } of boxes) fillBetween(mask, width, height, { left: x, top: y, right: x + w, bottom: y + h });
  return mask;
}
