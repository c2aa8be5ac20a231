export { clientCertificate, workloadIdentity } from './applications.js';
export { RedisError } from './errors.js';
export { clientSecret, fromEnv, managedIdentity, SCOPE } from './identities.js';
