// What a new user of node-redis sends: the getting-started page and the README, in short.

import assert from 'node:assert/strict';
import { createClient } from 'redis';

const { env } = process;
for (const RESP of [2, 3]) {
  const client = createClient({
    username: env.REDIS_USER,
    password: env.REDIS_TOKEN,
    socket: { host: env.REDIS_HOSTNAME, port: Number(env.REDIS_PORT), tls: true },
    RESP,
  });
  client.on('error', (error) => console.log(`error: ${error.message}`));
  await client.connect();
  assert.equal(client.isReady, true);
  await client.flushAll();
  // Strings, counters, expiry.
  assert.equal(await client.set('key', 'value', { EX: 10, NX: true }), 'OK');
  assert.equal(await client.set('key', 'other', { NX: true }), null);
  assert.equal(await client.get('key'), 'value');
  assert.ok((await client.ttl('key')) > 0);
  assert.equal(Number(await client.expire('key', 20)), 1);
  assert.deepEqual([await client.incr('n'), await client.incrBy('n', 41)], [1, 42]);
  assert.equal(await client.sendCommand(['SET', 'foo', 'bar']), 'OK');
  // A hash, a list, a set.
  const fields = { name: 'John', surname: 'Smith', company: 'Redis', age: 29 };
  assert.equal(await client.hSet('user-session:123', fields), 4);
  const session = { ...(await client.hGetAll('user-session:123')) };
  assert.deepEqual(session, { ...fields, age: '29' });
  assert.equal((await client.hVals('user-session:123')).length, 4);
  assert.equal(await client.rPush('list', ['a', 'b']), 2);
  assert.deepEqual(await client.lRange('list', 0, -1), ['a', 'b']);
  assert.equal(await client.sAdd('set', ['x', 'y']), 2);
  assert.deepEqual([...(await client.sMembers('set'))].sort(), ['x', 'y']);
  // Keys.
  const keys = [];
  for await (const found of client.scanIterator({ MATCH: '*s*' })) keys.push(...found);
  assert.deepEqual(keys.sort(), ['list', 'set', 'user-session:123']);
  assert.equal(await client.exists('foo'), 1);
  assert.equal(await client.type('list'), 'list');
  assert.equal(await client.del('foo'), 1);
  // Transactions, with a key that is watched, and many at once.
  const replies = await client.multi().set('another-key', 'another-value').get('another-key').exec();
  assert.deepEqual(replies, ['OK', 'another-value']);
  await client.watch('key');
  assert.deepEqual(await client.multi().get('key').exec(), ['value']);
  const many = await Promise.all([client.set('Tm9kZSBSZWRpcw==', 'users:1'), client.get('n')]);
  assert.deepEqual(many, ['OK', '42']);
  // Publish and subscribe.
  const subscriber = client.duplicate();
  await subscriber.connect();
  const heard = new Promise((resolve) => subscriber.subscribe('article', resolve));
  while ((await client.publish('article', 'message')) === 0);
  assert.equal(await heard, 'message');
  await subscriber.unsubscribe('article');
  await subscriber.close();
  await client.close();
}
console.log('done');
