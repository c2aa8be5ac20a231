// One command on a new connection, with awaits in between as programs have them.

import { connect, managedIdentity } from 'redis-entraid-js';

import { connector, env } from '#host';

const client = async () =>
  connect({
    host: env.REDIS_HOSTNAME,
    port: Number(env.REDIS_PORT),
    connect: await connector({ pem: env.REDIS_CA_PEM }),
    provider: managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST }),
    oneRequest: true,
  });

const redis = await client();
for (let turns = 0; turns < 10; turns += 1) await undefined;
await redis.command('INCR', 'n');
redis.close();
