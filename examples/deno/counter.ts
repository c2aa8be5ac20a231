// Counts once a second, for ever or COUNT times: REDIS_HOSTNAME and AZURE_* say where and as whom.

import { connect, fromEnv, RedisError } from 'redis-entraid-js';
import { connectDeno } from 'redis-entraid-js/deno';

const env = Deno.env.toObject();
const file = env.SSL_CERT_FILE;

const redis = await connect({
  host: env.REDIS_HOSTNAME,
  port: Number(env.REDIS_PORT ?? 10000),
  connect: connectDeno({ caCerts: file ? [Deno.readTextFileSync(file)] : [] }),
  provider: fromEnv(env),
  onEvent: ({ message }) => console.log(message),
});
for (let left = Number(env.COUNT ?? Infinity); left > 0; left -= 1) {
  try {
    console.log(await redis.command('INCR', 'hits'));
  } catch (error) {
    if (!(error instanceof RedisError)) throw error;
    // The next one may find a connection again.
    console.log(`${error.kind}: ${error.message} (${error.outcome})`);
  }
  await new Promise((resolve) => setTimeout(resolve, 1000));
}
await redis.close();
