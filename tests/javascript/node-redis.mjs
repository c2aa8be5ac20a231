// node-redis with our credentials provider, or with `@redis/entraid`'s for comparison: counts for
// SECONDS, and says what failed.

import { ManagedIdentityCredential } from '@azure/identity';
import { EntraIdCredentialsProviderFactory } from '@redis/entraid';
import { createClient } from 'redis';
import { managedIdentity, streamingCredentials } from 'redis-entraid-js/tokens';

const { env } = process;
const { IDENTITY_ENDPOINT: endpoint, IDENTITY_HEADER: header } = env;
const quiet = () => {};

// Both try on about once a second: with tokens of 10 s there is no time for more.
const theirs = () =>
  EntraIdCredentialsProviderFactory.createForDefaultAzureCredential({
    credential: new ManagedIdentityCredential(),
    scopes: 'https://redis.azure.com/.default',
    onReAuthenticationError: quiet,
    tokenManagerConfig: {
      expirationRefreshRatio: 0.7,
      retry: { maxAttempts: 5, initialDelayMs: 100, maxDelayMs: 1000, backoffMultiplier: 2 },
    },
  });
const ours = () =>
  streamingCredentials({
    provider: managedIdentity({ endpoint, header }),
    policy: { retry: { maxDelay: 1000, slowDelay: 1000 } },
  });

const client = createClient({
  socket: { host: env.REDIS_HOSTNAME, port: Number(env.REDIS_PORT), tls: true },
  credentialsProvider: env.PROVIDER === '@redis/entraid' ? theirs() : ours(),
});
client.on('error', quiet);
await client.connect();
console.log('connected');
let [commands, failed, gap] = [0, 0, 0];
let good = performance.now();
const until = performance.now() + Number(env.SECONDS) * 1000;
while (performance.now() < until) {
  const patience = AbortSignal.timeout(2000);
  try {
    const late = new Promise((_, reject) => patience.addEventListener('abort', () => reject(patience.reason)));
    await Promise.race([client.incr('n'), late]);
    gap = Math.max(gap, performance.now() - good);
    good = performance.now();
  } catch {
    failed += 1;
  }
  commands += 1;
  await new Promise((resolve) => setTimeout(resolve, 100));
}
const silence = performance.now() - good;
gap = Math.max(gap, silence);
console.log(`commands=${commands} failed=${failed} gap=${(gap / 1000).toFixed(1)} alive=${Number(silence < 5000)}`);
client.destroy();
