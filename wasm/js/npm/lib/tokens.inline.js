import { base64 } from '../wasm/tokens.inline.js';
import { tokensModule } from './tokens.js';
import { decoded } from './lazy.js';

tokensModule.compileBy(() => decoded(base64));

export * from './tokens.api.js';
