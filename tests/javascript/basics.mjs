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

for (const opens of ['MULTI', 'watch']) {
  const refused = await failure(redis.command(opens, ...(opens === 'watch' ? ['k'] : [])));
  const helps = /one pipeline/.test(refused?.message) && /dedicated: true/.test(refused?.message);
  check(refused?.kind === 'usage' && helps, `${opens} is refused where others may come between: ${refused?.message}`);
}
const whole = await redis.pipeline([['MULTI'], ['INCR', 'p'], ['EXEC']]);
check(String(whole.at(-1)) === '1', 'a transaction may be one pipeline');

const own = await connect({ ...common, provider, dedicated: true });
await own.command('MULTI');
const within = await Promise.all([own.command('INCR', 'm'), own.command('INCR', 'm')]);
check(within.every((reply) => reply === 'QUEUED'), 'calls of a dedicated client join its transaction');
check(String(await own.command('EXEC')) === '1,2', 'and it is executed whole');
own.close();

// Who reads an error wants to know where, what and why.
async function whoAsks() {
  await redis.command('LPUSH', 'n', 'x');
}
const shown = await failure(whoAsks());
check(shown.stack.includes('whoAsks') && shown.stack.includes('WRONGTYPE'), `an error has the frames of its caller: ${shown.stack}`);
check(/WRONGTYPE/.test(JSON.parse(JSON.stringify(shown)).message), 'and its message in JSON');
const why = new Error('my own cause');
const caused = await failure(connect({ ...common, provider: () => Promise.reject(Object.assign(why, { kind: 'configuration' })) }));
check(caused.cause === why && /my own cause/.test(caused.message), `the error of a provider is the cause: ${caused.cause}`);
const closed = new Error('no way there');
const undialed = await failure(connect({ ...common, provider: imds, connect: () => Promise.reject(closed), startTimeout: 1500 }));
check(undialed.cause === closed, `and so is that of a dial: ${undialed.message} ${undialed.cause}`);
const several = new AggregateError([new Error('one is down'), new Error('two is down')]);
const neither = await failure(connect({ ...common, provider: imds, connect: () => Promise.reject(several), startTimeout: 1500 }));
check(/one is down; two is down/.test(neither.message), `an error of several addresses says each: ${neither.message}`);

// A server that blocks for ever is waited for as long, and a timeout ends that.
const patient = await connect({ ...common, provider: imds, commandTimeout: 300 });
const begun = performance.now();
const ended = await Promise.race([failure(patient.command('BLPOP', 'nothing', 0, { timeout: 1000 })), sleep(10_000)]);
const waited = performance.now() - begun;
check(ended?.outcome === 'Unknown' && waited >= 900 && waited < 10_000, `a timeout ends a command that blocks for ever, commandTimeout doesn't: ${ended} ${waited}`);
patient.close();

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
redis.destroy();
check((await slow).outcome === 'Unknown', 'destroy fails what has no reply');
check((await failure(redis.command('PING'))).outcome === 'NotSent', 'and what comes after it');

// More than are under way at once.
const leaving = await connect({ ...common, provider });
const answered = Array.from({ length: 5000 }, () => leaving.command('INCR', 'left'));
const popped = leaving.command('BLPOP', 'nothing', 0.2);
const closing = leaving.close();
const after = failure(leaving.command('INCR', 'left'));
await Promise.all([closing, leaving.close()]);
check((await Promise.all(answered)).at(-1) === 5000 && (await popped) === null, 'close answers what was given before');
check((await after).outcome === 'NotSent' && !leaving.health().isConnected, 'and takes nothing more');

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
