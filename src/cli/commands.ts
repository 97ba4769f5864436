// The commands, as `diffmine --help` lists them. What a command takes and does is in commands/NAME.ts, which is loaded only to run the command or to
// print its help: building the options of all commands takes longer than all else at start-up.
import type { Command, Definition, Listed } from './command.js';

interface Entry extends Listed {
  load: () => Promise<Definition>;
}

export const COMMANDS: readonly Entry[] = [
  {
    name: 'setup',
    describe:
      'Find or download LibTorch, and use a prebuilt addon or build one; takes no time when everything is in place',
    load: async () => (await import('./commands/setup.js')).setupCommand,
  },
  {
    name: 'doctor',
    describe: 'Check Node, LibTorch, the native addon, devices, memory and threads',
    load: async () => (await import('./commands/doctor.js')).doctorCommand,
  },
  {
    name: 'inspect',
    describe: 'Describe a model, dataset or run',
    places: ['path'],
    load: async () => (await import('./commands/inspect.js')).inspectCommand,
  },
  {
    name: 'pull',
    describe: 'Download a model from the Hugging Face hub, or copy a run from a bucket',
    places: ['source', 'folder'],
    load: async () => (await import('./commands/pull.js')).pullCommand,
  },
  {
    name: 'estimate',
    describe: 'Estimate memory, UNet calls, time and disk space of a scan',
    places: ['dataset'],
    load: async () => (await import('./commands/estimate.js')).estimateCommand,
  },
  {
    name: 'estimate-train',
    describe: 'Estimate memory, disk space, time and price of a training (also: estimate train)',
    places: ['dataset'],
    load: async () => (await import('./commands/estimate-train.js')).estimateTrainCommand,
  },
  {
    name: 'train',
    describe: 'Fine-tune a model on labeled images, or train a small one from scratch',
    places: ['dataset'],
    load: async () => (await import('./commands/train.js')).trainCommand,
  },
  {
    name: 'run',
    describe: 'Scan, mine and report in one command',
    places: ['dataset'],
    load: async () => (await import('./commands/run.js')).runCommand,
  },
  {
    name: 'scan',
    describe: 'Score how typical each patch of each image is of its label',
    places: ['dataset'],
    load: async () => (await import('./commands/scan.js')).scanCommand,
  },
  {
    name: 'mine',
    describe: 'Rank the patches of a scanned run and cluster the best ones of each label',
    places: ['run'],
    load: async () => (await import('./commands/mine.js')).mineCommand,
  },
  {
    name: 'report',
    describe: 'Write the report to RUN/report/index.html, to be opened in a browser',
    places: ['run'],
    load: async () => (await import('./commands/report.js')).reportCommand,
  },
  {
    name: 'cotypicality',
    describe: 'Find what changes consistently between labels, in translated images',
    places: ['parallel'],
    load: async () => (await import('./commands/cotypicality.js')).cotypicalityCommand,
  },
  {
    name: 'evaluate',
    describe: 'Compare a run with boxes: average precision of pixels, pointing game, precision of the top patches',
    places: ['run'],
    load: async () => (await import('./commands/evaluate.js')).evaluateCommand,
  },
  {
    name: 'export',
    describe: 'Export the findings of a run: tables, boxes for annotation tools, heat maps, patches as images',
    places: ['run'],
    load: async () => (await import('./commands/export.js')).exportCommand,
  },
  {
    name: 'push',
    describe: 'Copy a run from a directory to a bucket',
    places: ['run', 'destination'],
    load: async () => (await import('./commands/push.js')).pushCommand,
  },
  {
    name: 'localize',
    describe: 'Map where images are typical of their labels, and compare the maps with boxes or masks',
    places: ['dataset'],
    load: async () => (await import('./commands/localize.js')).localizeCommand,
  },
  {
    name: 'compare',
    describe: 'Compare two runs: rank correlation, overlap of the top patches, and what moved most',
    places: ['run', 'other'],
    load: async () => (await import('./commands/compare.js')).compareCommand,
  },
  {
    name: 'sample',
    describe: 'Generate images of each label with a model',
    places: ['model'],
    load: async () => (await import('./commands/sample.js')).sampleCommand,
  },
  {
    name: 'translate',
    describe: 'Translate each image to the other labels, keeping its structure',
    places: ['dataset'],
    load: async () => (await import('./commands/translate.js')).translateCommand,
  },
  {
    name: 'submit',
    describe: 'Run a command as a job array of Slurm, Kubernetes or AWS Batch',
    places: ['system'],
    line: true,
    load: async () => (await import('./commands/submit.js')).submitCommand,
  },
  {
    name: 'worker',
    describe: 'Process the shards of a queue, on any machine that can read and write the runs',
    load: async () => (await import('./commands/worker.js')).workerCommand,
  },
  {
    name: 'status',
    describe: 'Show the progress of a run, and the state of its shards in the queue',
    places: ['run'],
    load: async () => (await import('./commands/status.js')).statusCommand,
  },
  {
    name: 'retry',
    describe: 'Put the unfinished shards of a run back in the queue',
    places: ['run'],
    load: async () => (await import('./commands/retry.js')).retryCommand,
  },
  {
    name: 'cancel',
    describe: 'Remove a run from the queue',
    places: ['run'],
    load: async () => (await import('./commands/cancel.js')).cancelCommand,
  },
  {
    name: 'demo',
    describe:
      'Draw a synthetic dataset with ground truth, mine it with the bundled model, and report how much was found',
    load: async () => (await import('./commands/demo.js')).demoCommand,
  },
  {
    name: 'verify',
    describe: 'Recompute reference values and compare; exit code 1 on any difference',
    places: ['folder'],
    load: async () => (await import('./commands/verify.js')).verifyCommand,
  },
  {
    name: 'bench',
    describe:
      'Measure the UNet, the stages, training and the whole pipeline; compare with a baseline, diffusers and the reference implementation',
    load: async () => (await import('./commands/bench.js')).benchCommand,
  },
  {
    name: 'completion',
    describe: 'Print a script that completes commands and options in bash, zsh or fish',
    places: ['shell'],
    load: async () => (await import('./commands/completion.js')).completionCommand,
  },
];

export async function loadCommand({ load, ...listed }: Entry): Promise<Command> {
  return { ...listed, ...(await load()) };
}
