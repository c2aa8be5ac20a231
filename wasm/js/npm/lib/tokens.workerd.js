// Workers only run modules that were there when they were deployed.
import module from '../wasm/tokens.wasm';

import { tokensModule } from './tokens.js';

tokensModule.compileBy(() => module);

export * from './tokens.api.js';
