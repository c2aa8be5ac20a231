// What a bundler makes one file of: a client, a manager, and Node's adapter.

import { connect, managedIdentity } from 'redis-entraid-js';
import { connectNode } from 'redis-entraid-js/node';
import { TokenManager } from 'redis-entraid-js/tokens';

const main = async () => {
  const { env } = process;
  const provider = managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST });
  const manager = new TokenManager({ provider });
  await manager.token();
  manager.close();
  const redis = await connect({
    host: env.REDIS_HOSTNAME,
    port: Number(env.REDIS_PORT),
    connect: connectNode({ ca: env.REDIS_CA_PEM }),
    provider,
  });
  if ((await redis.command('PING')) !== 'PONG') throw new Error('no answer');
  redis.close();
  console.log('done');
};

main();
