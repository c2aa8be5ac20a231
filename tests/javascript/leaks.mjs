// Prints all that can be printed: what is known of clients, managers and identities in each state, every
// error and every event. Who runs it looks for secrets in that.

import { Client, clientCertificate, clientSecret, connect, fromEnv, managedIdentity, SCOPE, workloadIdentity } from 'redis-entraid-js';
import { streamingCredentials, TokenManager } from 'redis-entraid-js/tokens';

import { connector, env, say, sleep } from '#host';

const inspect = globalThis.Deno?.inspect ?? (await import('node:util')).inspect;

/** Shows something in all ways that there are. */
const show = (what, value) => {
  const replacer = (_, inner) => (typeof inner === 'bigint' ? `${inner}` : inner);
  say(`${what}: ${inspect(value, { depth: 20, showHidden: true })}`);
  say(`${what}: ${JSON.stringify(value, replacer)} ${String(value)}`);
  console.error(what, value);
  if (value instanceof Error) {
    say(value.stack);
    for (const name of Object.getOwnPropertyNames(value)) say(`${name}: ${inspect(value[name])}`);
  }
};
const failing = async (what, promise) => {
  try {
    await promise;
  } catch (error) {
    show(what, error);
    return;
  }
  throw new Error(`${what} should have failed`);
};

/** Connects, logs in, and closes. */
const visit = async (options) => {
  const redis = await connect(options);
  await redis.loggedIn().finally(() => redis.close());
};

// A manager's timers don't keep a process.
const alive = setInterval(() => {}, 1000);
const dial = await connector({ pem: env.REDIS_CA_PEM });
const onEvent = (event) => show('event', event);
const common = { host: env.REDIS_HOSTNAME, port: Number(env.REDIS_PORT), connect: dial, onEvent };
const app = { endpoint: env.IDENTITY_ENDPOINT, header: env.IDENTITY_HEADER };
const application = {
  tenantId: env.AZURE_TENANT_ID,
  clientId: env.AZURE_CLIENT_ID,
  authorityHost: env.AZURE_AUTHORITY_HOST,
};
const principal = { ...application, clientSecret: env.AZURE_CLIENT_SECRET };
const certificate = clientCertificate({ ...application, certificate: env.EMULATOR_CERTIFICATE_PEM });
const federated = workloadIdentity({ ...application, assertion: async () => env.EMULATOR_FEDERATED_TOKEN });
const imds = managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST });
const control = (what, body = '') => fetch(`${env.AMR_EMULATOR_CONTROL}/${what}`, { method: 'POST', body });

for (const provider of [clientSecret(principal), managedIdentity(app), fromEnv(env), imds]) {
  const options = { ...common, provider, name: 'leaks' };
  show('options', options);
  const redis = await connect(options);
  show('client', redis);
  await redis.loggedIn();
  await redis.command('SET', 'k', 'v');
  show('health', redis.health());
  await failing('a wrong type', redis.command('LPUSH', 'k', 'v'));
  await failing('a login', redis.command('AUTH', 'x', 'y'));
  show('replies', await redis.pipeline([['GET', 'k'], ['LPUSH', 'k', 'v'], ['ACL', 'WHOAMI'], ['CLIENT', 'INFO']]));
  await control('cut');
  await redis.command('PING').catch((error) => show('a cut', error));
  const waiting = redis.command('BLPOP', 'none', 0);
  await sleep(50);
  redis.close();
  await failing('a close', waiting);
  await failing('what comes after it', redis.command('PING'));
  show('a closed client', redis);
}

for (const provider of [certificate, federated]) {
  const redis = await connect({ ...common, provider });
  await redis.loggedIn();
  show('a client of an application', [redis, provider]);
  redis.close();
}

// Refused by the server, and by Entra ID.
await control('arm', 'auth#* wrongpass');
await failing('a refused login', visit({ ...common, provider: imds, startTimeout: 3000 }));
await control('reset');
await control('arm', 'auth#* error ERR unknown command');
await failing('an odd server', visit({ ...common, provider: imds, startTimeout: 1000 }));
await control('reset');
await control('arm', 'token#* refuse invalid_client 7000215');
for (const provider of [clientSecret(principal), certificate, federated]) {
  await failing('a refused proof', connect({ ...common, provider, startTimeout: 3000 }));
}
await control('reset');
await control('arm', 'token#* garbage');
await failing('a proxy', connect({ ...common, provider: managedIdentity(app), startTimeout: 500 }));
await control('reset');

// Functions, and what is kept.
const url = `${env.AZURE_POD_IDENTITY_AUTHORITY_HOST}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=${encodeURIComponent(SCOPE.replace('/.default', ''))}`;
const provider = async () => (await fetch(url, { headers: { Metadata: 'true' } })).json();
const own = new Client({ ...common, provider });
await own.command('PING');
if (!(own.changedSnapshot() instanceof Uint8Array)) throw new Error('there is one');
show('a client of a function', own);
own.close();
await failing('a name that is too long for a token', visit({ ...common, provider: async () => ({ ...(await provider()), user: 'x\r\n' }), startTimeout: 500 }));

// Managers. A token is shown to nobody but who asks for it.
const manager = new TokenManager({ provider: imds, onEvent });
const token = await manager.token();
if (!token.token) throw new Error('it is for use');
show('a manager', manager);
manager.rejected(token);
await manager.after(token);
const last = manager.after({ generation: 99 });
manager.close();
await failing('a closed manager', last);
const credentials = streamingCredentials({ provider: imds, onEvent });
const [, subscription] = await credentials.subscribe({ onNext() {}, onError() {} });
show('credentials', credentials);
show('a subscription', subscription);
credentials.onReAuthenticationError(new Error('Re-authentication failed: WRONGPASS invalid'));
subscription.dispose();
clearInterval(alive);
say('done');
