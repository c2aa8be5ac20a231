import { RedisError } from './errors.js';

const WORDS =
  'the module has failed, most likely for want of memory: all its clients and token managers are lost; ' +
  'start a new process or isolate, and bound what it takes (`maxReply`, `backlog`)';

/** What waits for the module. */
const waiting = new Set();

let failure;

/** The module tells that it fails, before it does: nobody may wait for it in vain. */
export const failed = () => {
  failure = new RedisError(WORDS, undefined, 'broken', 'Unknown');
  waiting.forEach((one) => one.reject(failure));
};

/** Throws what has become of the module, if it has failed. */
export const throwIfBroken = () => {
  if (failure) throw failure;
};

/** A promise that the module settles. It makes none itself: V8 of Node 20 may end the process when the
 * code is thrown away that has called it for that. */
export const deferred = () => {
  const one = {};
  one.promise = new Promise((resolve, reject) => {
    one.resolve = (value) => {
      waiting.delete(one);
      resolve(value);
    };
    one.reject = (reason) => {
      waiting.delete(one);
      reject(reason);
    };
  });
  waiting.add(one);
  if (failure) one.reject(failure);
  return one;
};
