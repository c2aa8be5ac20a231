// Workers only run modules that were there when they were deployed.
import module from '../wasm/redis_entraid_js_bg.wasm';

import { compileBy } from './wasm.js';

compileBy(() => module);

export * from './api.js';
