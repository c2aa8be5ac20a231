import type { Connect, Transport } from './index.js';

/** A socket of `cloudflare:sockets`, as far as it is used. */
export interface Socket extends Transport {
  readonly opened: Promise<unknown>;
  readonly closed: Promise<unknown>;
}

/** Connects through `connect` of `cloudflare:sockets`, by TLS unless `plain`. */
export declare function connectWorkers(
  connect: (address: { hostname: string; port: number }, options: any) => Socket,
  options?: {
    /** Without TLS. Tokens go out in clear. */
    plain?: boolean;
  },
): Connect;
