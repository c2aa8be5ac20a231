import type { Connect } from './index.js';

/** Connects by TCP and, unless `plain`, TLS with a verified server. */
export declare function connectDeno(options?: {
  /** Without TLS: for tests, and for a proxy beside the program. Tokens go out in clear. */
  plain?: boolean;
  /** Certificates to trust beside Deno's, in PEM. */
  caCerts?: string[] | undefined;
}): Connect;
