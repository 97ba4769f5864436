// Hours and price at a rate that was given, measured or computed.

export interface Time {
  /** per second: UNet calls, or steps of a training. Given, measured or computed (then the upper end); absent if unknown */
  rate?: number;
  rateFrom?: 'given' | 'measured' | 'earlier' | 'computed';
  hours?: number;
  /** of a computed rate: at the lowest */
  hoursAtMost?: number;
  /** what a computed rate follows from */
  computedFrom?: string;
  /** of the hours, with `perHour` */
  price?: number;
  priceAtMost?: number;
}

/**
 * The time of `amount` at a rate per second.
 *
 * @param rateAtLeast of a computed rate
 * @param perHour price of an hour
 */
export function timeAt(
  amount: number,
  {
    rate,
    rateAtLeast,
    ...from
  }: { rate: number; rateAtLeast?: number } & Required<Pick<Time, 'rateFrom'>> & Pick<Time, 'computedFrom'>,
  perHour: number | undefined,
): Time {
  const hoursAt = (rate: number): number => amount / rate / 3600;
  const hours = hoursAt(rate);
  const hoursAtMost = rateAtLeast === undefined ? undefined : hoursAt(rateAtLeast);
  return {
    rate,
    ...from,
    hours,
    ...(hoursAtMost === undefined ? {} : { hoursAtMost }),
    ...(perHour === undefined ? {} : { price: hours * perHour }),
    ...(perHour === undefined || hoursAtMost === undefined ? {} : { priceAtMost: hoursAtMost * perHour }),
  };
}
