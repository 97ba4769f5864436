// Geometry of boxes: centers, intersections, pixels covered.
import type { Size } from '../read-image.js';

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Whether the center of `patch` lies in `box`: its left and upper edges count, the others do not. */
export function centerIn(patch: Box, box: Box): boolean {
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

/** The part of a box inside an image; undefined if it covers no area of it. */
export function clipped(box: Box, { width, height }: Size): Box | undefined {
  const [left, top] = [Math.max(0, box.x), Math.max(0, box.y)];
  const [right, bottom] = [Math.min(width, box.x + box.width), Math.min(height, box.y + box.height)];
  if (!(left < right && top < bottom)) return undefined;
  const inside = left === box.x && top === box.y && right === box.x + box.width && bottom === box.y + box.height;
  return inside ? box : { ...box, x: left, y: top, width: right - left, height: bottom - top };
}

/** Edges in pixels of a mask; `right` and `bottom` are the first pixels outside. */
export interface Edges {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** An edge just below a whole pixel is rounding of the scaling before it: 50 px * 0.3 / 0.3 is 50. */
const ROUNDING = 1e-7;

/** Edges truncated to whole pixels and clipped to the image. */
function wholePixels({ left, top, right, bottom }: Edges, { width, height }: Size): Edges {
  const clip = (value: number, side: number): number => Math.max(0, Math.min(side, Math.floor(value + ROUNDING)));
  return { left: clip(left, width), top: clip(top, height), right: clip(right, width), bottom: clip(bottom, height) };
}

/** Whether there is a pixel of an image of `size` between edges. */
export function coversPixel(edges: Edges, size: Size): boolean {
  const { left, top, right, bottom } = wholePixels(edges, size);
  return left < right && top < bottom;
}

/** Sets the pixels of a mask of width x height between edges: truncated, clipped to the image. */
export function fillBetween(mask: Uint8Array, width: number, height: number, edges: Edges): void {
  const { left, top, right, bottom } = wholePixels(edges, { width, height });
  for (let y = top; y < bottom; y++) mask.fill(1, y * width + left, y * width + Math.max(left, right));
}

/** The boxes' union as a mask of width x height: corners truncated after adding, the far ones exclusive, clipped to the image. Boxes are in these pixels. */
export function boxMask(boxes: readonly Box[], width: number, height: number): Uint8Array {
  const mask = new Uint8Array(width * height);
  for (const { x, y, width: w, height: h } of boxes)
    fillBetween(mask, width, height, { left: x, top: y, right: x + w, bottom: y + h });
  return mask;
}
