// Words that options choose from and that floors below the stages know, too.
export const DTYPES = ['fp32', 'bf16', 'fp16'] as const;
/** auto: chosen by device and task (runs/dtype.ts). */
export const DTYPE_CHOICES = ['auto', ...DTYPES] as const;
export const SAMPLERS = ['stratified', 'reference'] as const;
export const LOSSES = ['squared', 'absolute', 'huber'] as const;
/** The paper's five datasets, and each with the prompts that the authors' published model was trained with (data/presets.ts). */
export const PRESET_NAMES = [
  'cars',
  'faces',
  'geo',
  'places',
  'xray',
  'cars:published',
  'faces:published',
  'geo:published',
  'places:published',
  'xray:published',
] as const;
export const BOX_FORMATS = ['auto', 'csv', 'nih', 'coco', 'masks'] as const;
/** Whether boxes are in pixels of the upright image or of the stored one, before EXIF turns it. */
export const BOX_FRAMES = ['auto', 'upright', 'stored'] as const;
/** Rankings of a label's patches. */
export const RANKINGS = ['top', 'bottom', 'random'] as const;
