// Loaded into a worker's processes (NODE_OPTIONS=--import): its engine fails as a broken device does. ENGINE_FAULT names where and how: "load", "work" (at
// every shard) or the number of a shard; "dies" or an error's code.
import { DiffmineError } from '../../dist/util/errors.js';

const [where = '', how = ''] = (process.env.ENGINE_FAULT ?? '').split(' ');

/** @returns {Promise<never>} */
const fail = async () => {
  if (how === 'dies') process.kill(process.pid, 'SIGKILL');
  throw new DiffmineError(how, 'The test says so.', 'Change the device.');
};

if (process.argv[1]?.endsWith('pipeline/worker-process.js')) {
  const { Engine } = await import('../../dist/engine/index.js');
  const { loadModel, scoreTypicality } = Engine.prototype;
  let shard = '';
  // a listener here would take messages before the worker listens
  const { emit } = process;
  process.emit = (name, ...parameters) => {
    if (name === 'message' && parameters[0].type === 'shard') shard = String(parameters[0].shard);
    return emit.call(process, name, ...parameters);
  };
  Engine.prototype.loadModel = function (...parameters) {
    return where === 'load' ? fail() : loadModel.apply(this, parameters);
  };
  Engine.prototype.scoreTypicality = function (...parameters) {
    return where === 'work' || where === shard ? fail() : scoreTypicality.apply(this, parameters);
  };
}
