// The types of addon.mjs, for src/engine and src/tools/setup.
export interface Candidate {
  addon: string;
  preload?: string | undefined;
  libraries?: string[] | undefined;
}
/** buildInfo() and devices() of the addon, as JSON; or why it does not load */
export type Probed = { build: unknown; devices: unknown } | { reason: string };
export function probe(candidate: Candidate): Probed;
export function probeOnce(candidate: Candidate): Probed | undefined;
export function load(candidate: Candidate): unknown;
export function fixes(options?: {
  cuda?: boolean | undefined;
  failures?: readonly { addon: string; reason: string }[] | undefined;
}): string;
export function platformPackage(options?: { cuda?: boolean | undefined }): {
  name: string;
  reason?: string;
  missing?: boolean;
  addon?: string;
};
export function unsupported(machine?: {
  platform?: string | undefined;
  glibc?: string | undefined;
  flags?: readonly string[] | undefined;
}): { what: 'Platform' | 'CPU'; reason: string; hint: string } | undefined;
export function cpuFlags(): string[] | undefined;
export function levelOf(flags: readonly string[]): string | undefined;
export function librariesOf(libtorch: string, options?: { cuda?: boolean | undefined }): string[];
export function reinstall(name: string, addon: string): string;
export const baseline: { GLIBC: string; GLIBCXX: string; CXXABI: string };
