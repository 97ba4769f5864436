// The program of timeTrainingApart's process: one task, one answer. Its parent ends it.
import { asDiffmineError } from '../../util/errors.js';
import { timeTraining, type FromTraining, type TrainingTask } from './training.js';

function send(message: FromTraining): void {
  if (process.connected) process.send?.(message);
}

process.once('message', (task: TrainingTask) => {
  timeTraining(task).then(
    (bench) => send({ type: 'done', bench }),
    (thrown: unknown) => {
      const { code, message, hint } = asDiffmineError(thrown);
      send({ type: 'failed', code, message, ...(hint === undefined ? {} : { hint }) });
    },
  );
});
// At once, in the middle of a step too, when the parent is gone.
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
// Ctrl-C reaches the whole group of processes: what to do about it is the parent's to say.
process.on('SIGINT', () => undefined);
