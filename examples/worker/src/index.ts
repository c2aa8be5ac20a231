// A counter. Its token lives in KV, sealed, and in this isolate's memory.

import { connect as dial } from 'cloudflare:sockets';
import { type Client, connect, fromEnv } from 'redis-entraid-js';
import { connectWorkers } from 'redis-entraid-js/workers';

import { seal, unseal } from './sealed';

interface Env {
  readonly REDIS_HOSTNAME: string;
  readonly REDIS_PORT?: string;
  readonly AZURE_AUTHORITY_HOST?: string;
  readonly AZURE_TENANT_ID: string;
  readonly AZURE_CLIENT_ID: string;
  readonly AZURE_CLIENT_SECRET: string;
  readonly CACHE_KEY: string;
  readonly TOKENS: KVNamespace;
}

/** Data may be shared between requests; connections may not. */
let kept: Uint8Array | undefined;

/** Until then somebody else fetches a token. A time, since a request may end in the middle. */
let busyUntil = 0;

const KEY = 'redis-token';

const restored = async (env: Env) => {
  kept ??= await unseal(env.CACHE_KEY, await env.TOKENS.get(KEY, 'arrayBuffer'));
  return kept;
};

/** What can wait until the answer has gone out. */
const afterwards = async (redis: Client, env: Env) => {
  try {
    if (redis.pull() !== 'use' && Date.now() > busyUntil) {
      busyUntil = Date.now() + 5_000;
      await redis.refreshIfDue();
    }
    const changed = redis.changedSnapshot();
    if (changed) {
      kept = changed;
      await env.TOKENS.put(KEY, await seal(env.CACHE_KEY, changed));
    }
  } catch (error) {
    // The old token serves on.
    console.error(String(error));
  } finally {
    redis.close();
  }
};

export default {
  async fetch(request, env, context) {
    const redis = await connect({
      host: env.REDIS_HOSTNAME,
      port: Number(env.REDIS_PORT ?? 10000),
      connect: connectWorkers(dial),
      provider: fromEnv({ ...env, TOKENS: undefined }),
      oneRequest: true,
      deadline: 10_000,
      snapshot: await restored(env),
    });
    try {
      const hits = await redis.command('INCR', 'hits');
      return new Response(`${hits} hits\n`);
    } finally {
      context.waitUntil(afterwards(redis, env));
    }
  },
} satisfies ExportedHandler<Env>;
