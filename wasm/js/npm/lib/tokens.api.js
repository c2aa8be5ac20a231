export { RedisError } from './errors.js';
export { clientSecret, fromEnv, managedIdentity, SCOPE } from './identities.js';
