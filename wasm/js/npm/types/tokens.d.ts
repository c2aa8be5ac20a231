import type { TokenOptions } from './index.js';

export {
  clientCertificate,
  clientSecret,
  fromEnv,
  managedIdentity,
  RedisError,
  SCOPE,
  workloadIdentity,
} from './index.js';
export type * from './index.js';

/** A token that a manager gave. */
export interface ManagedToken {
  /** Its number. */
  readonly generation: number;
  /** The user name for `AUTH`. */
  readonly user: string;
  /** The password for `AUTH`. */
  readonly token: string;
  /** When it ends, in milliseconds since 1970. */
  readonly expiresOnTimestamp: number;
}

/** Keeps an identity's token fresh, from the first call on, until it is closed. In Workers it may be at
 * module scope: the first caller for whom another one is due fetches it, within its request, and the others
 * use the one that there is or wait for it. */
export declare class TokenManager {
  constructor(options: TokenOptions);
  /** A token that is live now; waits for the first one. */
  token(): Promise<ManagedToken>;
  /** The next token behind `token`, when it comes. */
  after(token: ManagedToken): Promise<ManagedToken>;
  /** Tells that a server refused `token`: another one is fetched. */
  rejected(token: ManagedToken): void;
  /** Tells that a server took `token`. */
  accepted(token: ManagedToken): void;
  /** Ends it. The next call begins anew. */
  close(): void;
}

/** What node-redis takes as `credentialsProvider`. */
export interface StreamingCredentials {
  readonly type: 'streaming-credentials-provider';
  readonly subscribe: (listener: {
    onNext: (credentials: { username?: string; password?: string }) => void;
    onError: (error: Error) => void;
  }) => Promise<[{ username?: string; password?: string }, { dispose(): void }]>;
  readonly onReAuthenticationError: (error: Error) => void;
}

/** A streaming credentials provider for node-redis: `createClient({ credentialsProvider })`. */
export declare function streamingCredentials(
  options: TokenOptions & { onReAuthenticationError?: (error: Error) => void },
): StreamingCredentials;
