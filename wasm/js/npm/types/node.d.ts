import type { Connect } from './index.js';

/** Connects by TCP and, unless `plain`, TLS with a verified server. */
export declare function connectNode(options?: {
  /** Without TLS: for tests, and for a proxy beside the program. Tokens go out in clear. */
  plain?: boolean;
  /** Certificates to trust in place of Node's, in PEM. */
  ca?: string | Uint8Array | undefined;
  /** More options of `tls.connect`. The server is verified whatever they say. */
  tls?: object;
}): Connect;
