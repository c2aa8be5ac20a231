/** The scope to request a token for, in a provider of your own. */
export declare const SCOPE: 'https://redis.azure.com/.default';

/** A connection as two streams of bytes, as `connect()` in Workers, `Deno.connect()` and Node's `Duplex.toWeb()` return. */
export interface Transport {
  readonly readable: ReadableStream<any>;
  readonly writable: WritableStream<any>;
  /** The address that was reached. A cluster may use it in `MOVED` for this server. */
  readonly remoteAddress?: string;
  /** Closes both. */
  close?(): unknown;
}

/** What to connect to. */
export interface Target {
  /** The host name or IP address to dial. */
  readonly address: string;
  readonly port: number;
  /** The name to verify the server's certificate for. */
  readonly serverName: string;
  /**
   * Whether `address` is a cluster node's, from a `MOVED`. If you can't verify `serverName` at another address,
   * dial `serverName` with this `port`: nodes answer there too.
   */
  readonly redirected?: boolean;
  /**
   * Which of a name's addresses to try first, modulo their number. It goes up when a server was reached and no
   * login succeeded there. Ignore it if you can't choose.
   */
  readonly turn?: number;
  /** Aborted when the connection isn't needed any more, or took too long. */
  readonly signal: AbortSignal;
  /** Call it when a stage begins: if the dial takes too long, its error names the stage. */
  readonly begins?: (stage: 'name' | 'tcp' | 'tls') => void;
}

/** Opens a connection. An error that it throws may have a `kind`: `name`, `unreachable`, `tls` or `host`. */
export type Connect = (target: Target) => Transport | Promise<Transport>;

/** A token, in the form that `@azure/identity`, MSAL, or a token endpoint returns. */
export type Token =
  | string
  | ({ readonly user?: string } & TokenText & TokenLife);

/** The token itself. */
export type TokenText =
  | { readonly token: string }
  | { readonly accessToken: string }
  | { readonly access_token: string };

/** How long a token lives. What is missing is read from the token itself. */
export interface TokenLife {
  /** Milliseconds since 1970, as `@azure/identity` has it. */
  readonly expiresOnTimestamp?: number;
  readonly refreshAfterTimestamp?: number;
  /** A date, as MSAL has it, or seconds since 1970. */
  readonly expiresOn?: Date | number | string | null;
  readonly expires_on?: number | string;
  /** Seconds from the request. */
  readonly expiresIn?: number;
  readonly expires_in?: number | string;
  readonly refresh_in?: number | string;
}

/**
 * Returns a new token. An error that it throws may have a `kind`: `transient` (the default), `throttled`, or
 * `configuration` if trying again soon can't help.
 */
export type TokenFunction = (options: { signal: AbortSignal }) => Promise<Token | null>;

/** An identity whose tokens are fetched over HTTP. `clientSecret`, `managedIdentity`, `workloadIdentity`,
 * `clientCertificate` and `fromEnv` return one. */
export interface Identity {
  readonly variable: (name: string) => unknown;
  readonly fetch?: Fetch | undefined;
  readonly prove?: ((asked: any) => Promise<unknown> | unknown) | undefined;
}

/** A function like `fetch`. */
export type Fetch = (url: string, init: any) => Promise<any>;

/** A service principal with a secret. */
export declare function clientSecret(options: {
  tenantId: string;
  clientId: string;
  clientSecret: string;
  /** The authority of another cloud. The default is the public one's, `https://login.microsoftonline.com`. */
  authorityHost?: string | undefined;
  fetch?: Fetch | undefined;
}): Identity;

/** An application in Entra that proves itself otherwise than by a secret. */
export interface Application {
  tenantId: string;
  clientId: string;
  /** The authority of another cloud. The default is the public one's, `https://login.microsoftonline.com`. */
  authorityHost?: string | undefined;
  /** The scope to request a token for. The default is `SCOPE`. */
  scope?: string | undefined;
  fetch?: Fetch | undefined;
}

/** A federated token: in a file, as on AKS, or from a function. */
export type FederatedToken =
  /** The file's path, in Node and Deno. It is read for each token. */
  | { tokenFile: string; assertion?: undefined }
  /**
   * Returns a JWT of an issuer that the application trusts, such as GitHub Actions or SPIFFE. It is called for each
   * token. An error that it throws may have a `kind`, as a `TokenFunction`'s.
   */
  | { assertion: (options: { signal: AbortSignal }) => Promise<string>; tokenFile?: undefined };

/** An application, or a user-assigned managed identity, with a federated token: AKS workload identity, say. */
export declare function workloadIdentity(options: Application & FederatedToken): Identity;

/** A certificate whose RSA key is elsewhere: in a key vault, say. */
export interface CertificateKey {
  /** The SHA-256 of the certificate in DER, 32 bytes or their hexadecimal digits. */
  thumbprint: Uint8Array | string;
  /**
   * Signs `data` with RSASSA-PSS, SHA-256 and a salt of 32 bytes (`PS256`). `data` is not hashed yet. An error that
   * it throws may have a `kind`, as a `TokenFunction`'s.
   */
  sign: (data: Uint8Array<ArrayBuffer>, options: { signal: AbortSignal }) => Promise<Uint8Array | ArrayBuffer>;
}

/** An application with a certificate. */
export declare function clientCertificate(
  options: Application & {
    /** PEM with the certificate and its RSA key in PKCS#8, as text or its bytes, or the thumbprint and a function that signs. */
    certificate: string | Uint8Array | CertificateKey;
  },
): Identity;

/** The managed identity of this virtual machine, or of this app if there are `endpoint` and `header`. */
export declare function managedIdentity(options?: {
  /** Which identity, if there are several. Give at most one of `clientId`, `objectId` and `resourceId`. */
  clientId?: string | undefined;
  objectId?: string | undefined;
  resourceId?: string | undefined;
  /** `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` of App Service, Functions or Container Apps. */
  endpoint?: string | undefined;
  header?: string | undefined;
  /** The metadata service's URL. The default is `http://169.254.169.254`. */
  imds?: string | undefined;
  fetch?: Fetch | undefined;
}): Identity;

/** The identity that environment variables describe, such as `AZURE_CLIENT_SECRET`, by the names of Azure's tools.
 * In Node and Deno, these may name the file of a certificate (PEM) or of a federated token. */
export declare function fromEnv(
  env: Readonly<Record<string, unknown>>,
  options?: { fetch?: Fetch | undefined },
): Identity;

/** When tokens are renewed. */
export interface RefreshPolicy {
  /** The share of a token's life after which the next one is fetched, 0 to 1. */
  expirationRefreshRatio?: number;
  /** The latest time to fetch the next token, in milliseconds before the end of the old one. */
  lowerRefreshBound?: number;
  /** The time limit of one token request, in milliseconds. The default is 30,000, and 5,000 for a manager in Workers. */
  tokenRequestTimeout?: number;
  /** How a failed request is repeated. */
  retry?: RetryPolicy;
}

/** How a failed token request is repeated: first quickly, then slowly, without end. */
export interface RetryPolicy {
  /** The number of quick attempts after a failure. The default is 5. */
  maxAttempts?: number;
  /** The wait before the first quick attempt, in milliseconds. The default is 1000, and the least. */
  initialDelay?: number;
  /** The longest wait between quick attempts, in milliseconds. The default is 30,000. */
  maxDelay?: number;
  /** The factor by which the wait grows with each attempt, a whole number. The default is 2. */
  backoffMultiplier?: number;
  /** The wait between slow attempts, in milliseconds. The default is 60,000. */
  slowDelay?: number;
}

/** What happened, for logs. It never contains a token. */
export interface RedisEvent {
  readonly name:
    | 'refreshed'
    | 'same-token'
    | 'fetch-failed'
    | 'logged-in'
    | 'reauthenticated'
    | 'rejected'
    | 'state-lost'
    | 'disconnected'
    | 'dial-failed'
    | 'other';
  /** What happened, as a sentence. */
  readonly message: string;
}

/** How to get tokens. */
export interface TokenOptions {
  provider: TokenFunction | Identity;
  policy?: RefreshPolicy | undefined;
  /** The time limit for the first token and the first connection together, in milliseconds. The default is 30,000. */
  startTimeout?: number | undefined;
  onEvent?: ((event: RedisEvent) => void) | undefined;
  /** Used by identities instead of the global `fetch`. */
  fetch?: Fetch | undefined;
}

/** The options of a client or a subscriber. All times are in milliseconds. */
export interface Options extends TokenOptions {
  /** The server's name, `<name>.<region>.redis.azure.net`. */
  host?: string | undefined;
  /** The default is 10000. */
  port?: number | undefined;
  /** The address to dial instead of `host`. The certificate is still verified for `host`. */
  address?: string | undefined;
  /** Opens connections, a new one whenever one has ended: `connectNode()`, `connectDeno()` or `connectWorkers()`. */
  connect?: Connect | undefined;
  /** A connection that is open already, instead of `connect`. The client ends with it. */
  transport?: Transport | undefined;
  /** The version of RESP. The default is 3. */
  protocol?: 2 | 3 | undefined;
  /** The connection's name in the server's `CLIENT LIST`. */
  name?: string | undefined;
  /** Allows `MULTI` and `WATCH` as commands of their own. Use such a client for one task only: commands of
   * others would become part of the transaction. */
  dedicated?: boolean | undefined;
  /** For programs that run for one request: fetches a token only when there is no live one, or in
   * `refreshIfDue`. */
  oneRequest?: boolean | undefined;
  /** The time after which the client and all of its calls end, from when it is made. */
  deadline?: number | undefined;
  /** How long a command may wait to be sent, behind others or for a connection. The default is
   * `commandTimeout`. */
  queueTimeout?: number | undefined;
  /** How long a command may wait for its reply after it was sent. The default is 5,000. The time that a
   * command blocks at the server is added: `BLPOP key 0` has no limit. */
  commandTimeout?: number | undefined;
  /** The silence after which a `PING` is sent. The default is 240,000. */
  pingInterval?: number | undefined;
  /** The largest reply, in bytes. The default is 64 MiB. */
  maxReply?: number | undefined;
  /** How a subscriber's connection is replaced before its token ends, where it can't log in again (protocol 2).
   * `break`, the default: it ends first, and messages may be missed. `overlap`: a second one takes over, and
   * messages may come twice. */
  replacement?: 'break' | 'overlap' | undefined;
  /** The largest size of a subscriber's unread messages, in bytes. The default is 1 MiB. */
  backlog?: number | undefined;
  /** Called with each push of the server, such as the invalidated keys of `CLIENT TRACKING`. */
  onPush?: ((push: Reply) => void) | undefined;
  /** A token from `changedSnapshot` of an earlier client. It is used only if it is for the same identity. All
   * provider functions count as one identity: keep a snapshot for each. */
  snapshot?: Uint8Array | ArrayBuffer | null | undefined;
}

/** An argument of a command. */
export type Argument = string | number | bigint | Uint8Array;

/** A reply. A string that isn't UTF-8 is a `Uint8Array`. An error inside another reply is a value, not thrown. */
export type Reply =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | RedisError
  | Reply[]
  | Map<Reply, Reply>
  | Set<Reply>;

/** How long to wait for a command or a pipeline. */
export interface CallOptions {
  /** The time limit of the whole call in milliseconds, instead of `queueTimeout` and `commandTimeout`. It also
   * ends a command that blocks at the server, such as `BLPOP key 0`. */
  timeout?: number | undefined;
  /** Ends the call when it is aborted: the call rejects with the signal's reason. A command that was not sent by
   * then is never sent; one that was sent may be executed. */
  signal?: AbortSignal | undefined;
}

/** The state of a client's connection and token. */
export interface Health {
  readonly isConnected: boolean;
  /** Whether the connection takes commands now, for readiness probes. It stays true while the client logs in
   * again, and becomes false when a reply is overdue. */
  readonly isReady: boolean;
  /** The number of logins on new connections (`connects`), and with newer tokens on live ones (`reauths`). */
  readonly connects: number;
  readonly reauths: number;
  readonly token: {
    readonly requests: number;
    /** The number of new tokens, including the first. */
    readonly refreshes: number;
    readonly failures: number;
    /** The number of tokens that a server refused. */
    readonly rejections: number;
    /** Milliseconds; `undefined` without a token. */
    readonly age: number | undefined;
    readonly expiresIn: number | undefined;
  };
}

/** A client on one connection, which it keeps open and logged in. */
export declare class Client {
  constructor(options: Options);
  /** Waits until there is a connection. The login is not answered yet. */
  connected(): Promise<void>;
  /** Waits until the server has accepted the login. */
  loggedIn(): Promise<void>;
  /** Sends a command and resolves to its reply. You need not wait for one call before the next: commands are sent
   * in the order of the calls. */
  command(...args: Argument[]): Promise<Reply>;
  command(...args: [...Argument[], CallOptions]): Promise<Reply>;
  /** Sends a command and resolves to its reply, with all strings as bytes. */
  commandBytes(...args: Argument[]): Promise<Reply>;
  commandBytes(...args: [...Argument[], CallOptions]): Promise<Reply>;
  /** Sends commands without waiting in between, and resolves to all replies. An error reply is one of them, not
   * thrown. A `timeout` is for all of them together. The commands from `MULTI` to `EXEC` are sent as a whole
   * or not at all. */
  pipeline(commands: Argument[][], options?: CallOptions & { bytes?: boolean }): Promise<Reply[]>;
  /** What a program that can't run in the background should do about its token. */
  pull(): 'use' | 'use-then-refresh' | 'fetch-first';
  /** Fetches the next token if it is due. */
  refreshIfDue(): Promise<void>;
  /** Returns the token as bytes, or `undefined` if it is the same as in the last call or the `snapshot`. It is a
   * secret: encrypt it. */
  changedSnapshot(): Uint8Array<ArrayBuffer> | undefined;
  /** Returns the state of connection and token. It never contains the token. */
  health(): Health;
  /** Makes a subscriber with a connection of its own and this client's tokens. With `bytes`, names and messages
   * are bytes. */
  subscriber(options: { bytes: true }): Subscriber<Uint8Array>;
  subscriber(options?: { bytes?: boolean }): Subscriber;
  /** Makes a subscriber and waits until the server has confirmed its subscription to `channels`. */
  subscribe(...channels: Argument[]): Promise<Subscriber>;
  /** Makes a subscriber and waits until the server has confirmed its subscription to `patterns` of channels. */
  psubscribe(...patterns: Argument[]): Promise<Subscriber>;
  /** Takes no more commands. Resolves when earlier ones are answered or their time limit is over, and connection
   * and subscribers are closed. */
  close(): Promise<void>;
  /** Closes the connection at once, and its subscribers. A command without a reply fails. */
  destroy(): void;
}

/** What a subscriber receives. */
export type Delivery<T = string | Uint8Array> =
  /** A message. A string that isn't UTF-8 is a `Uint8Array`. */
  | { readonly type: 'message'; readonly channel: T; readonly message: T; readonly pattern?: T }
  /** The connection was lost, and is there again with all subscriptions. Messages published in between are
   * missing. */
  | { readonly type: 'gap' }
  /** `count` messages were dropped here: `backlog` was full, or one was too large. */
  | { readonly type: 'missed'; readonly count: number }
  /** Another connection takes over: from here to `settled`, messages may come twice. */
  | { readonly type: 'overlap' }
  | { readonly type: 'settled' }
  /** The server ended a subscription that it had confirmed. */
  | { readonly type: 'refused'; readonly name: T; readonly error: RedisError };

/** Receives what is published, on a connection of its own, and subscribes again on each new connection. Use
 * `for await (const delivery of subscriber)`; leaving the loop closes the subscriber. */
export declare class Subscriber<T = string | Uint8Array> implements AsyncIterableIterator<Delivery<T>> {
  private constructor();
  /** Waits until the server has accepted the login. */
  loggedIn(): Promise<void>;
  /** Subscribes to channels, and waits until the server has confirmed it. After a time-out it is still tried. */
  subscribe(...channels: Argument[]): Promise<void>;
  /** Subscribes to patterns of channels. */
  psubscribe(...patterns: Argument[]): Promise<void>;
  /** Subscribes to shard channels. */
  ssubscribe(...channels: Argument[]): Promise<void>;
  /** Ends subscriptions. Messages published before may still come. */
  unsubscribe(...channels: Argument[]): void;
  punsubscribe(...patterns: Argument[]): void;
  sunsubscribe(...channels: Argument[]): void;
  /** Waits for the next delivery. `done` when the subscriber or its client is closed. */
  next(): Promise<IteratorResult<Delivery<T>, undefined>>;
  /** Closes the subscriber. A `for await` loop calls it when it is left. */
  return(value?: undefined): Promise<IteratorResult<Delivery<T>, undefined>>;
  [Symbol.asyncIterator](): this;
  /** Returns the state of connection and token. It never contains the token. */
  health(): Health;
  /** Closes the subscriber and its connection. */
  close(): void;
}

/** Makes a client and waits until there is a connection. The first commands are sent together with the login. */
export declare function connect(options: Options): Promise<Client>;

/** Makes a subscriber without a client, and waits until the server has accepted its login. With `bytes`, names
 * and messages are bytes. */
export declare function listen(options: Options & { bytes: true }): Promise<Subscriber<Uint8Array>>;
export declare function listen(options: Options & { bytes?: boolean }): Promise<Subscriber>;

/** Has one of many requests of a Worker do the work that all of them wait for. It holds no promise, so it may be
 * at module scope. */
export declare class Lease {
  /** Resolves to the result of `find`, as soon as it isn't `undefined`. Does `work` if no other request does.
   * Waits for `patience` milliseconds; the default is 30,000. */
  share<T>(find: () => T | undefined, work: () => Promise<T>, patience?: number): Promise<T>;
  /** Returns whether no request does the work now. */
  isFree(): boolean;
  /** Does `work`, even if another request does too. */
  hold<T>(work: () => Promise<T>): Promise<T>;
}

/** An error of this library. `cause` is what a provider or `connect` has thrown. */
export declare class RedisError extends Error {
  /** The first word of the server's error, such as `WRONGTYPE`; `undefined` if the error isn't the server's. */
  readonly code: string | undefined;
  /** Where the error comes from. */
  readonly kind: 'usage' | 'token' | 'connect' | 'tls' | 'rejected' | 'server' | 'lost' | 'broken';
  /** Whether the command may have been executed. A command with `NotSent` can safely be repeated. */
  readonly outcome: 'NotSent' | 'Unknown';
  /** Returns what `JSON.stringify` shows. */
  toJSON(): { name: string; message: string; code: string | undefined; kind: string; outcome: string };
}
