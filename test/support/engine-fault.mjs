// Loaded into a worker's processes (NODE_OPTIONS=--import): its engine fails as a broken device does. ENGINE_FAULT names where and how: "load" or "work",
// "dies" or an error's code; "SHARD dies" kills the process at that shard.
import { DiffmineError } from '../../dist/util/errors.js';

const [where = '', how = ''] = (process.env.ENGINE_FAULT ?? '').split(' ');

/** @returns {Promise<never>} */
const fail = async () => {
  if (how === 'dies') process.kill(process.pid, 'SIGKILL');
  throw new DiffmineError(how, 'The test says so.', 'Change the device.');
};

if (process.argv[1]?.endsWith('pipeline/worker.js')) {
  const { Engine } = await import('../../dist/engine/index.js');
  if (where === 'load') Engine.prototype.loadModel = fail;
  else if (where === 'work') Engine.prototype.scoreTypicality = fail;
  else process.on('message', ({ type, shard }) => type === 'shard' && String(shard) === where && void fail());
}
