export { clientCertificate, workloadIdentity } from './applications.js';
export { Client, connect, listen } from './client.js';
export { RedisError } from './errors.js';
export { clientSecret, fromEnv, managedIdentity, SCOPE } from './identities.js';
export { Lease } from './lease.js';
export { Subscriber } from './subscriber.js';
