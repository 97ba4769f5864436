// How fast other machines compute.
import type { Dtype } from '../../engine/types.js';

export interface Card {
  title: string;
  /** bytes */
  memory: number;
  /** peak operations per second of dense matmuls by the maker's specifications: on tensor cores in fp16 and bf16; outside of them in fp32, as fp32 never uses TF32 */
  peak: { half: number; fp32: number };
  /** has bf16 */
  bf16: boolean;
}

const card = (title: string, gigabytes: number, half: number, fp32: number, bf16 = true): Card => ({
  title,
  memory: gigabytes * 1e9,
  peak: { half: half * 1e12, fp32: fp32 * 1e12 },
  bf16,
});

export const CARDS = {
  t4: card('NVIDIA T4', 16, 65, 8.1, false),
  v100: card('NVIDIA V100', 32, 125, 15.7, false),
  a100: card('NVIDIA A100', 80, 312, 19.5),
  l4: card('NVIDIA L4', 24, 121, 30.3),
  l40s: card('NVIDIA L40S', 48, 362, 91.6),
  rtx4090: card('NVIDIA RTX 4090', 24, 165, 82.6),
  h100: card('NVIDIA H100', 80, 989, 67),
  h200: card('NVIDIA H200', 141, 989, 67),
} as const satisfies Record<string, Card>;
export type CardName = keyof typeof CARDS;
export const CARD_NAMES = Object.keys(CARDS) as readonly CardName[];

/** Fraction of a card's peak, from and to: published engines for Stable Diffusion reach 31 to 43 % in fp16. Not measured with diffmine. */
export const UTILIZATION = [0.3, 0.5] as const;

/** Operations per second, from and to. */
export function speedOf(card: Card, dtype: Dtype): readonly [number, number] {
  const peak = dtype === 'fp32' ? card.peak.fp32 : card.peak.half;
  return [UTILIZATION[0] * peak, UTILIZATION[1] * peak];
}
