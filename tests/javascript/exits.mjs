// When a process ends: MODE says what it does last. Only its own work keeps it, and that does.

import { Client, connect, listen, managedIdentity } from 'redis-entraid-js';
import { streamingCredentials, TokenManager } from 'redis-entraid-js/tokens';

import { connector, env, say } from '#host';

const provider = managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST });
const common = {
  host: env.REDIS_HOSTNAME,
  port: Number(env.REDIS_PORT),
  connect: await connector({ pem: env.REDIS_CA_PEM }),
  provider,
};

const modes = {
  // The token endpoint fails at first.
  async 'waits-for-a-token'() {
    await new TokenManager({ provider }).token();
  },
  async 'leaves-a-manager'() {
    await new TokenManager({ provider }).token();
  },
  async 'leaves-a-provider'() {
    const [, subscription] = await streamingCredentials({ provider }).subscribe({ onNext() {}, onError() {} });
    subscription.dispose();
  },
  // Its client is gone, and can't say so: nothing will come for as long as the endpoint fails.
  async 'leaves-a-provider-that-waits'() {
    const provided = streamingCredentials({ provider }).subscribe({ onNext() {}, onError() {} });
    provided.then(() => say('a token'));
    await new Promise((resolve) => setTimeout(resolve, 500));
  },
  async 'closes-a-client'() {
    const redis = await connect(common);
    redis.command('BLPOP', 'nothing', 1);
    await redis.close();
  },
  async 'destroys-a-client'() {
    const redis = await connect(common);
    await redis.command('PING');
    redis.command('BLPOP', 'nothing', 0).catch(() => {});
    redis.destroy();
  },
  async 'closes-a-subscriber'() {
    const subscriber = await listen(common);
    await subscriber.subscribe('news');
    subscriber.next();
    subscriber.close();
  },
  async 'closes-at-once'() {
    new Client(common).close();
  },
};

await modes[env.MODE]();
say('done');
