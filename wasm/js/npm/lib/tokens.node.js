import { readFileSync } from 'node:fs';

import { tokensModule } from './tokens.js';

const file = new URL('../wasm/tokens.wasm', import.meta.url);
tokensModule.compileBy(() => new WebAssembly.Module(readFileSync(file)));

export * from './tokens.api.js';
