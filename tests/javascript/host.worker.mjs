// Where this runs: a Worker. It has the same exports as host.mjs.

import { connect } from 'cloudflare:sockets';
import { connectWorkers } from 'redis-entraid-js/workers';

export { env } from 'cloudflare:workers';

/** Whether there are files. */
export const hasFiles = false;

/** Connects with the roots that workerd was given, or without TLS. */
export const connector = async ({ plain = false } = {}) => connectWorkers(connect, { plain });

/** Waits. */
export const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

/** There are no files. */
export const write = undefined;
