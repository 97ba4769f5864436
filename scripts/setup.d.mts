// The types of setup.mjs, for src/tools/setup.
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
export interface SetupOptions {
  cuda?: boolean | undefined;
  log?: ((line: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}
export function setup(options?: SetupOptions): Promise<Built & { built: boolean }>;
export function builtAddon(folder?: string): Built | undefined;
export function buildFolder(): string;
/** buildInfo() and devices() of the addon, as JSON */
export function probe(addon: string): Promise<{ build: unknown; devices: unknown }>;
export function cacheFolder(): string;
export function which(...names: string[]): string | undefined;
export const accepted: { first: string; last: string };
