// What the conformance cases don't say of subscribers: one program for Node and Deno.

import { connect, listen, managedIdentity, RedisError } from 'redis-entraid-js';

import { connector, env, say, sleep } from '#host';

const check = (holds, rule) => {
  if (!holds) throw new Error(`it isn't so: ${rule}`);
  say(`ok ${rule}`);
};

const pushes = [];
const options = {
  host: env.REDIS_HOSTNAME,
  port: Number(env.REDIS_PORT),
  connect: await connector({ pem: env.REDIS_CA_PEM }),
  provider: managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST }),
};
const redis = await connect({ ...options, onPush: (push) => pushes.push(push) });
const until = async (holds, rule) => {
  for (let left = 3000; left > 0 && !(await holds()); left -= 1) await sleep(10);
  check(await holds(), rule);
};
const connections = async () => (await redis.command('CLIENT', 'LIST')).split('\n').filter(Boolean).length;
const before = await connections();
const hear = async (channel) => (await redis.command('PUBSUB', 'NUMSUB', channel))[1];

// As the README has it.
const news = await redis.subscribe('news', 'weather');
for (let number = 0; number < 100; number += 1) await redis.command('PUBLISH', number % 2 ? 'news' : 'weather', number);
const heard = [];
for await (const delivery of news) {
  heard.push(delivery);
  if (heard.length === 100) break;
}
const inOrder = ({ type, channel, message }, number) =>
  type === 'message' && message === String(number) && channel === (number % 2 ? 'news' : 'weather');
check(heard.every(inOrder), 'messages come in order');
await until(async () => (await hear('news')) === 0, 'a loop that is left closes its subscriber');
check((await news.next()).done, 'nothing comes of it any more');

const all = redis.subscriber({ bytes: true });
const first = all.next();
await all.psubscribe('a*', 'b*');
check(redis.health().connects === 1 && all.health().connects === 1, 'it has a connection of its own');
await redis.command('PUBLISH', 'abc', Uint8Array.of(255, 0, 1));
const { channel, message, pattern } = (await first).value;
check(message.join() === '255,0,1' && new TextDecoder().decode(channel) === 'abc', 'bytes come as they are, to one who waited before');
check(new TextDecoder().decode(pattern) === 'a*', 'with the pattern by which they came');
all.punsubscribe('a*');
await all.subscribe('more');
await redis.command('PUBLISH', 'abc', 'nobody hears this');
await redis.command('PUBLISH', 'more', 'but this');
check(new TextDecoder().decode((await all.next()).value.message) === 'but this', 'what is no longer wanted ends');

const waiting = all.next();
all.close();
check((await waiting).done, 'close ends who waits');

const slow = await listen({ ...options, backlog: 2000 });
await slow.subscribe('flood');
for (let number = 0; number < 100; number += 1) await redis.command('PUBLISH', 'flood', 'x'.repeat(100));
// It is sent as much later as the server pleases, but before what comes behind it.
await slow.subscribe('behind');
let read = 0;
let delivery;
while ((delivery = (await slow.next()).value).type === 'message') read += 1;
check(delivery.type === 'missed' && read > 5 && read + delivery.count === 100, 'what is too much is dropped and counted');
slow.close();
await until(async () => (await connections()) === before, 'no connection is left behind');

try {
  await redis.command('SUBSCRIBE', 'x');
  check(false, 'SUBSCRIBE is no command');
} catch (error) {
  check(error instanceof RedisError && error.kind === 'usage', 'SUBSCRIBE is no command');
}
await redis.command('SET', 'k', 1);
await redis.command('CLIENT', 'TRACKING', 'ON');
await redis.command('GET', 'k');
const other = await connect(options);
await other.command('SET', 'k', 2);
await until(() => pushes.length > 0, 'what the server sends unasked is heard');
check(pushes[0][0] === 'invalidate' && pushes[0][1][0] === 'k', 'as it is');
check((await redis.command('GET', 'k')) === '2', 'and disturbs no command');

// Nobody has this one, nor its client: somebody only waits.
const { heard: kept } = await (async () => {
  const client = await connect(options);
  return { heard: (await client.subscribe('kept')).next() };
})();
for (let round = 0; round < 5; round += 1) {
  globalThis.gc();
  await sleep(20);
}
await redis.command('PUBLISH', 'kept', 'alive');
check((await kept).value.message === 'alive', 'who waits keeps a subscriber, and its client');
await until(async () => (globalThis.gc(), (await hear('kept')) === 0), 'and then nobody does');

const last = await other.subscribe('last');
const end = last.next();
other.close();
check((await end).done, 'a subscriber ends with its client');
const broken = { ...options, provider: () => Promise.reject(Object.assign(new Error('no such tenant'), { kind: 'configuration' })) };
const refused = await listen(broken).catch((error) => error);
check(refused.kind === 'token', 'without a token there is none');
redis.close();
say('done');
