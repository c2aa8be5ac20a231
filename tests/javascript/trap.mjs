// The module fails, for want of memory: who waits hears so, and who comes later.

import v8 from 'node:v8';

import { connector, env, say, sleep } from '#host';

// 38 MB in all.
v8.setFlagsFromString('--wasm-max-mem-pages=600');
const { connect, managedIdentity, RedisError } = await import('redis-entraid-js');

// The trap itself is an error that nobody could catch.
const uncaught = [];
process.on('uncaughtException', (error) => uncaught.push(error));

const options = {
  host: env.REDIS_HOSTNAME,
  port: Number(env.REDIS_PORT),
  connect: await connector({ pem: env.REDIS_CA_PEM }),
  provider: managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST }),
};
const [one, other] = await Promise.all([connect(options), connect(options)]);
const piece = 'x'.repeat(1 << 20);
for (let n = 0; n < 40; n += 1) await other.command('APPEND', 'large', piece);
const late = sleep(30_000).then(() => 'nothing in 30 s');
const check = async (what, promise) => {
  const came = await Promise.race([promise.catch((error) => error), late]);
  const isBroken = came instanceof RedisError && came.kind === 'broken' && /want of memory/.test(came.message);
  say(`${isBroken ? 'ok' : 'NOT OK'} ${what}: ${came?.message ?? came}`);
};
const blocked = other.command('BLPOP', 'nothing', 0);
await check('a reply that is too large for the memory', one.command('GET', 'large'));
await check('who waited at another client', blocked);
await check('a command of another client', other.command('GET', 'k'));
await check('a new client', connect(options));
say(uncaught.every((error) => error instanceof WebAssembly.RuntimeError) ? 'done' : `uncaught ${uncaught}`);
process.exit(0);
