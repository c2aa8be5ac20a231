// What is checked here is that options may stand behind the arguments of a command.

import { connect } from 'redis-entraid-js';
import type { Options, Reply } from 'redis-entraid-js';

export const patient = async (options: Options, signal: AbortSignal): Promise<Reply[]> => {
  const redis = await connect(options);
  const one = await redis.command('GET', 'key', { timeout: 100, signal });
  const other = await redis.commandBytes('GET', 'key', { timeout: undefined, signal: undefined });
  const all = await redis.pipeline([['GET', 'key']], { bytes: true, timeout: 100, signal });
  // @ts-expect-error: options are the last.
  const wrong = await redis.command({ timeout: 100 }, 'GET', 'key');
  return [one, other, wrong, ...all, await redis.command('PING')];
};
