import { readFileSync } from 'node:fs';

import { clientModule } from './client.js';

const file = new URL('../wasm/client.wasm', import.meta.url);
clientModule.compileBy(() => new WebAssembly.Module(readFileSync(file)));

export * from './api.js';
