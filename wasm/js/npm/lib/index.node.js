import { readFileSync } from 'node:fs';

import { compileBy } from './wasm.js';

const file = new URL('../wasm/redis_entraid_js_bg.wasm', import.meta.url);
compileBy(() => new WebAssembly.Module(readFileSync(file)));

export * from './api.js';
