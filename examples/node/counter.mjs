// Counts once a second, for ever or COUNT times: REDIS_HOSTNAME and AZURE_* say where and as whom.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { connect, fromEnv, RedisError } from 'redis-entraid-js';
import { connectNode } from 'redis-entraid-js/node';

const { REDIS_HOSTNAME: host, REDIS_PORT: port = 10000, SSL_CERT_FILE: file } = process.env;

const redis = await connect({
  host,
  port: Number(port),
  connect: connectNode({ ca: file && readFileSync(file) }),
  provider: fromEnv(process.env),
  onEvent: ({ message }) => console.log(message),
});
for (let left = Number(process.env.COUNT ?? Infinity); left > 0; left -= 1) {
  try {
    console.log(await redis.command('INCR', 'hits'));
  } catch (error) {
    if (!(error instanceof RedisError)) throw error;
    // The next one may find a connection again.
    console.log(`${error.kind}: ${error.message} (${error.outcome})`);
  }
  await sleep(1000);
}
await redis.close();
