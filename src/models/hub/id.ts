// Names of models on the Hugging Face hub, as they are given where a model folder may stand: owner/name[@revision][:variant].

export interface HubId {
  /** owner/name */
  name: string;
  /** a branch, a tag or a commit */
  revision: string;
  /** of the weights, such as fp16 */
  variant?: string;
}

const NAME = /^(\w[\w.-]*\/\w[\w.-]*)(?:@(\w[\w./-]*))?(?::([\w-]+))?$/;
export const DEFAULT_REVISION = 'main';

/** undefined for what cannot be an id; paths that begin with a dot or a slash never are. */
export function parseHubId(text: string): HubId | undefined {
  const [, name, revision = DEFAULT_REVISION, variant] = NAME.exec(text) ?? [];
  // the revision becomes a path in the cache
  if (name === undefined || text.includes('..') || revision.endsWith('/') || revision.includes('//')) return undefined;
  return { name, revision, ...(variant === undefined ? {} : { variant }) };
}

/** As it is given: the inverse of parseHubId. */
export const formatHubId = ({ name, revision, variant }: HubId): string =>
  `${name}${revision === DEFAULT_REVISION ? '' : `@${revision}`}${variant === undefined ? '' : `:${variant}`}`;
