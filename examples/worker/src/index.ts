// A counter. Its token lives in KV, sealed, and in this isolate's memory.

import { connect as dial } from 'cloudflare:sockets';
import { type Client, connect, fromEnv, Lease } from 'redis-entraid-js';
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
let kept: Uint8Array<ArrayBuffer> | undefined;
let liveUntil = 0;

/** What lies in KV. */
let saved: Uint8Array<ArrayBuffer> | undefined;

/** One request at a time fetches a token. */
const lease = new Lease();

const KEY = 'redis-token';
const DEADLINE = 10_000;

const keep = (redis: Client) => {
  const changed = redis.changedSnapshot();
  if (!changed && Date.now() < liveUntil) return;
  kept = changed ?? kept;
  liveUntil = Date.now() + (redis.health().token.expiresIn ?? 0);
};

const open = async (env: Env) => {
  const redis = await connect({
    host: env.REDIS_HOSTNAME,
    port: Number(env.REDIS_PORT ?? 10000),
    connect: connectWorkers(dial),
    provider: fromEnv({ ...env, TOKENS: undefined }),
    oneRequest: true,
    deadline: DEADLINE,
    snapshot: kept,
  });
  keep(redis);
  return redis;
};

/** With the token of somebody else, if there is one that lives; or who fetches it. */
const opened = async (env: Env) => {
  const first = async () => {
    if (!kept) {
      saved = await unseal(env.CACHE_KEY, await env.TOKENS.get(KEY, 'arrayBuffer'));
      kept = saved;
    }
    return { redis: await open(env) };
  };
  const isLive = (): { redis?: Client } | undefined => (Date.now() < liveUntil ? {} : undefined);
  const { redis } = await lease.share(isLive, first, DEADLINE);
  return redis ?? open(env);
};

/** What can wait until the answer has gone out. */
const afterwards = async (redis: Client, env: Env) => {
  try {
    if (redis.pull() !== 'use' && lease.isFree()) {
      await lease.hold(() => redis.refreshIfDue());
    }
    keep(redis);
    if (kept && kept !== saved) {
      saved = kept;
      await env.TOKENS.put(KEY, await seal(env.CACHE_KEY, kept));
    }
  } catch (error) {
    // The old token serves on.
    console.error(String(error));
  } finally {
    await redis.close();
  }
};

export default {
  async fetch(request, env, context) {
    const redis = await opened(env);
    try {
      const hits = await redis.command('INCR', 'hits');
      return new Response(`${hits} hits\n`);
    } finally {
      context.waitUntil(afterwards(redis, env));
    }
  },
} satisfies ExportedHandler<Env>;
