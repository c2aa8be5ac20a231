// The environment names a proxy, which must not hear of metadata.

import { Client, managedIdentity } from 'redis-entraid-js';
import { TokenManager } from 'redis-entraid-js/tokens';

import { connector, env, say } from '#host';

// Older Nodes know of no proxy: there, what goes through one is `fetch`.
if (!globalThis.Deno) globalThis.fetch = () => Promise.reject(new Error('that went to the proxy'));

const provider = managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST });
const onEvent = ({ name, message }) => say(`${name}: ${message}`);
await new TokenManager({ provider, onEvent }).token();
const client = new Client({
  host: env.REDIS_HOSTNAME,
  port: Number(env.REDIS_PORT),
  connect: await connector({ pem: env.REDIS_CA_PEM }),
  provider,
});
await client.loggedIn();
client.close();
say('done');
