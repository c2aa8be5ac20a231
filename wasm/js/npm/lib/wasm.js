import { initSync, RawClient, RawManager, RawSubscriber } from '../wasm/redis_entraid_js.js';

let compile;
let ready = false;

/** Says where the module comes from. Nothing is done with it before somebody wants a client. */
export const compileBy = (how) => {
  compile = how;
};

/** The classes of the module. */
export const wasm = () => {
  if (!ready) {
    initSync({ module: compile() });
    ready = true;
  }
  return { RawClient, RawManager, RawSubscriber };
};
