// Workers only run modules that were there when they were deployed.
import module from '../wasm/client.wasm';

import { clientModule } from './client.js';

clientModule.compileBy(() => module);

export * from './api.js';
