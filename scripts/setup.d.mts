// The types of setup.mjs, for src/tools/setup.
export * from './addon.mjs';
export interface LibTorch {
  folder: string;
  version: string;
  cuda: boolean;
  /** 'LIBTORCH', "Python's torch", 'cache', 'official archive', "pip's wheel" */
  source: string;
}
export interface Built {
  /** the addon's file */
  addon: string;
  cuda: boolean;
  libtorch: LibTorch;
}
/** What set-up took from a platform package. */
export interface Prebuilt extends Built {
  package: string;
  preload: string;
  libraries: string[];
}
export interface SetupOptions {
  cuda?: boolean | undefined;
  build?: boolean | undefined;
  log?: ((line: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}
export function setup(options?: SetupOptions): Promise<Built & { built: boolean; prebuilt: string | null }>;
export function builtAddon(folder?: string): Built | undefined;
export function prebuiltAddon(folder?: string): Prebuilt | undefined;
export function buildFolder(): string;
export function cacheFolder(): string;
export function which(...names: string[]): string | undefined;
export const isClone: boolean;
export const accepted: { first: string; last: string };
