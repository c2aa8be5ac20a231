import { base64 } from '../wasm/client.inline.js';
import { clientModule } from './client.js';
import { decoded } from './lazy.js';

clientModule.compileBy(() => decoded(base64));

export * from './api.js';
