// Workers only run modules that were there when they were deployed.
import module from '../wasm/tokens.wasm';

import { streaming } from './streaming.js';
import { TokenManager, tokensModule } from './requests.js';

tokensModule.compileBy(() => module);

export * from './tokens.api.js';
export { TokenManager };

/** A streaming credentials provider for node-redis. */
export const streamingCredentials = ({ onReAuthenticationError, ...options }) =>
  streaming(new TokenManager(options), onReAuthenticationError);
