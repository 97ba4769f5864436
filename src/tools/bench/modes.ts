/** What torch.compile may be asked for beside eager passes. Apart, so that the command line's options load nothing. */
export const COMPILE_MODES = ['max-autotune', 'max-autotune-no-cudagraphs', 'reduce-overhead', 'default'] as const;
