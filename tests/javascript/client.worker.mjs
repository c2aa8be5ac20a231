// The Worker of the README: a client for each request, and a manager of tokens at module scope.

import { connect as dial } from 'cloudflare:sockets';
import { env } from 'cloudflare:workers';
import { connect } from 'redis-entraid-js';
import { managedIdentity, TokenManager } from 'redis-entraid-js/tokens';
import { connectWorkers } from 'redis-entraid-js/workers';

const tokens = new TokenManager({ provider: managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST }) });

export default {
  async fetch() {
    const redis = await connect({
      host: env.REDIS_HOSTNAME,
      port: Number(env.REDIS_PORT),
      connect: connectWorkers(dial),
      provider: () => tokens.token(),
      oneRequest: true,
      deadline: 20_000,
    });
    const hits = await redis.command('INCR', 'hits');
    redis.close();
    return new Response(`\n${hits} hits\n`);
  },
};
