// SVG strokes and colors that all drawings of the synthetic cities share.

export const PALETTE = {
  red: '#c43a30',
  blue: '#2f62b0',
  green: '#2f8a57',
  yellow: '#e0b330',
  white: '#efebe0',
  dark: '#33333b',
  orange: '#d9772e',
  teal: '#2a999c',
  brown: '#7a5237',
  violet: '#77509a',
} as const;
export type Color = keyof typeof PALETTE;

export const GLASS = '#27384d';
export const STONE = '#d8cfbd';
export const IRON = '#2c2c33';
export const GLOW = '#ffe9a3';

export const rect = (x: number, y: number, w: number, h: number, fill: string, more = ''): string =>
  `<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="${fill}" ${more}/>`;
export const circle = (x: number, y: number, r: number, fill: string, more = ''): string =>
  `<circle cx="${x}" cy="${y}" r="${r}" fill="${fill}" ${more}/>`;
export const shape = (d: string, fill: string, more = ''): string => `<path d="${d}" fill="${fill}" ${more}/>`;
export const stroke = (d: string, color: string, width: number): string =>
  `<path d="${d}" fill="none" stroke="${color}" stroke-width="${width}"/>`;
