// What the conformance cases don't say: one program for Node and Deno. It ends well or says why not.

import { Client, connect, fromEnv, managedIdentity, RedisError } from 'redis-entraid-js';

import { connector, env, say, sleep } from '#host';

const check = (holds, rule) => {
  if (!holds) throw new Error(`it isn't so: ${rule}`);
  say(`ok ${rule}`);
};
const failure = async (promise) => {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return error;
  }
};

const host = env.REDIS_HOSTNAME;
const dial = await connector({ pem: env.REDIS_CA_PEM });
const common = { host, port: Number(env.REDIS_PORT), connect: dial };
const imds = managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST });

/** A provider of one's own, in the form of `@azure/identity`. */
const provider = async ({ signal }) => {
  const url = `${env.AZURE_POD_IDENTITY_AUTHORITY_HOST}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fredis.azure.com`;
  const response = await fetch(url, { headers: { Metadata: 'true' }, signal });
  const { access_token: token, expires_on } = await response.json();
  return { token, expiresOnTimestamp: Number(expires_on) * 1000 };
};

const redis = await connect({ ...common, provider });

const numbers = await Promise.all(Array.from({ length: 1000 }, () => redis.command('INCR', 'n')));
check(numbers.every((number, at) => number === at + 1), '1,000 commands at once are answered in order');

const bytes = Uint8Array.from({ length: 256 }, (_, at) => at);
await redis.command('SET', 'bytes', bytes);
const back = await redis.command('GET', 'bytes');
check(back instanceof Uint8Array && back.every((byte, at) => byte === at), 'what is no text comes as bytes');
await redis.command('SET', 'text', 'grüß dich');
check((await redis.command('GET', 'text')) === 'grüß dich', 'text comes as a string');
check((await redis.commandBytes('GET', 'text')).length === 11, 'or as bytes, if asked for');
await redis.command('SET', 'big', 2n ** 63n - 2n);
check((await redis.command('INCR', 'big')) === 2n ** 63n - 1n, 'a number too large for one is a BigInt');
const large = 'x'.repeat(5_000_000);
await redis.command('SET', 'large', large);
check((await redis.command('GET', 'large')) === large, 'a reply may be large');

check((await failure(redis.command('GET', {}))) instanceof TypeError, 'an object is no argument');
check((await failure(redis.command('AUTH', 'x', 'y'))).kind === 'usage', 'AUTH is the client’s own');
const wrong = await failure(redis.command('LPUSH', 'n', 'x'));
check(wrong instanceof RedisError && wrong.code === 'WRONGTYPE' && wrong.kind === 'server', 'errors are exceptions');

await redis.command('MULTI');
const within = await Promise.all([redis.command('INCR', 'm'), redis.command('INCR', 'm')]);
check(within.every((reply) => reply === 'QUEUED'), 'calls join the transaction that is open');
check(String(await redis.command('EXEC')) === '1,2', 'and it is executed whole');

const blocked = redis.command('BLPOP', 'nothing', 1);
await sleep(100);
const controller = new AbortController();
const { signal } = controller;
const given = failure(redis.command('INCR', 'given-up', { signal }));
const late = failure(redis.command('INCR', 'given-up', { timeout: 100 }));
const both = failure(redis.pipeline([['INCR', 'given-up']], { signal }));
controller.abort(new Error('enough'));
check((await given).message === 'enough' && (await both).message === 'enough', 'a call is given up by its signal');
check((await late).outcome === 'NotSent', 'or when its time is over');
await blocked;
check((await redis.command('GET', 'given-up')) === null, 'and what was not sent by then never is');
check((await failure(redis.command('PING', { signal }))).message === 'enough', 'a signal may be over before');
check((await failure(redis.command('PING', { timeout: 'soon' }))) instanceof TypeError, 'a timeout is a number');

const slow = failure(redis.command('BLPOP', 'nothing', 100));
await sleep(100);
redis.close();
check((await slow).outcome === 'Unknown', 'close fails what has no reply');
check((await failure(redis.command('PING'))).outcome === 'NotSent', 'and what comes after it');

// A transport that is open already.
const transport = await dial({ address: host, port: common.port, serverName: host });
const once = await connect({ transport, provider: imds, commandTimeout: 30_000 });
check((await once.command('PING')) === 'PONG', 'one transport makes for one connection');
once.close();

const kept = new Client({ ...common, provider: imds });
await kept.command('PING');
const snapshot = kept.changedSnapshot();
check(snapshot.length > 100 && kept.changedSnapshot() === undefined, 'a token is given out once');
kept.close();
const never = () => Promise.reject(new Error('it is not asked'));
const second = await connect({ ...common, provider: imds, fetch: never, oneRequest: true, snapshot });
check((await second.command('PING')) === 'PONG' && second.pull() === 'use', 'a kept token needs no request');
check(second.changedSnapshot() === undefined, 'and is no news');
second.close();

const broken = await failure(
  connect({ ...common, provider: () => Promise.reject(Object.assign(new Error('no such tenant'), { kind: 'configuration' })) }),
);
check(broken.kind === 'token' && /no such tenant/.test(broken.message), 'why there is no token is said at once');
check((await failure(connect({ ...common, provider: fromEnv({}), startTimeout: 500 }))).kind === 'token', 'patience has an end');
say('done');
