// Where runs and datasets are: a path, or a prefix in a bucket (s3://BUCKET/PREFIX).
import { join } from 'node:path';
import { DiffmineError } from './errors.js';

export const isBucket = (place: string): boolean => /^s3:\/\//i.test(place);

/** A place inside another one: of a directory, or of a bucket. */
export const placeIn = (place: string, name: string): string =>
  isBucket(place) ? `${place.replace(/\/+$/, '')}/${name}` : join(place, name);

/** `s3://bucket/a/b/` as bucket and prefix, without slashes at the ends. @throws INVALID_ARGUMENT */
export function parsePlace(place: string): { bucket: string; prefix: string } {
  const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]*)\/?(.*)$/is.exec(place) ?? [];
  if (
    !/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/i.test(bucket) ||
    /(^|\/)\.{0,2}(\/|$)/.test(prefix.replace(/\/+$/, '') || 'x')
  )
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `'${place}' is not a place in a bucket.`,
      'Expected s3://BUCKET/PREFIX, such as s3://scans/cars.',
    );
  return { bucket, prefix: prefix.replace(/\/+$/, '') };
}
