import { base64 } from '../wasm/tokens.inline.js';
import { streaming } from './streaming.js';
import { TokenManager, tokensModule } from './tokens.js';
import { decoded } from './lazy.js';

tokensModule.compileBy(() => decoded(base64));

export * from './tokens.api.js';
export { TokenManager };

/** A streaming credentials provider for node-redis. */
export const streamingCredentials = ({ onReAuthenticationError, ...options }) =>
  streaming(new TokenManager(options), onReAuthenticationError);
