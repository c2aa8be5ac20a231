/** The scope of Azure Managed Redis, for providers of your own. */
export declare const SCOPE: 'https://redis.azure.com/.default';

/** Two streams: what `connect()` of Workers, `Deno.connect()` and `Duplex.toWeb()` of Node give. */
export interface Transport {
  readonly readable: ReadableStream<any>;
  readonly writable: WritableStream<any>;
  /** The address that was reached: a cluster may call the server so. */
  readonly remoteAddress?: string;
  /** Closes both. */
  close?(): unknown;
}

/** Whom to connect to. */
export interface Target {
  /** What to dial. */
  readonly address: string;
  readonly port: number;
  /** The name that the server's certificate must be for. */
  readonly serverName: string;
  /**
   * A cluster has said so: `address` is a node's, which answers by the server's name too. Where that
   * can't be verified at another address, dial `serverName` with this `port`.
   */
  readonly redirected?: boolean;
  /**
   * By how many places the addresses of a name are to be turned, where a `connect` can choose among them:
   * where a server was reached the last time and nobody could log in, another address comes first.
   */
  readonly turn?: number;
  /** Aborted when nobody waits for the connection any more. */
  readonly signal: AbortSignal;
  /** Says what is waited for from now on, so that the error of a dial that takes too long can say it. */
  readonly begins?: (stage: 'name' | 'tcp' | 'tls') => void;
}

/** Opens connections. An error may have a `kind`: `name`, `unreachable`, `tls`, `host`. */
export type Connect = (target: Target) => Transport | Promise<Transport>;

/** A token, in any form in which providers give one. */
export type Token =
  | string
  | ({ readonly user?: string } & TokenText & TokenLife);

/** The token itself. */
export type TokenText =
  | { readonly token: string }
  | { readonly accessToken: string }
  | { readonly access_token: string };

/** How long it lives; what is missing is read from the token. */
export interface TokenLife {
  /** Milliseconds since 1970, as `@azure/identity` has it. */
  readonly expiresOnTimestamp?: number;
  readonly refreshAfterTimestamp?: number;
  /** A date, as MSAL has it, or seconds since 1970. */
  readonly expiresOn?: Date | number | string | null;
  readonly expires_on?: number | string;
  /** Seconds from when it was asked for. */
  readonly expiresIn?: number;
  readonly expires_in?: number | string;
  readonly refresh_in?: number | string;
}

/**
 * Yields a token. An error may have a `kind`: `transient` (the default), `throttled`, or
 * `configuration` if trying again soon can't help.
 */
export type TokenFunction = (options: { signal: AbortSignal }) => Promise<Token | null>;

/** An identity that is asked for over `fetch`: see `clientSecret`, `managedIdentity`, `fromEnv`. */
export interface Identity {
  readonly variable: (name: string) => unknown;
  readonly fetch?: Fetch | undefined;
}

/** A function like `fetch`. */
export type Fetch = (url: string, init: any) => Promise<any>;

/** A service principal with a secret. */
export declare function clientSecret(options: {
  tenantId: string;
  clientId: string;
  clientSecret: string;
  /** Of another cloud than the public one. */
  authorityHost?: string | undefined;
  fetch?: Fetch | undefined;
}): Identity;

/** The managed identity of this machine; or of this app, with `endpoint` and `header`. */
export declare function managedIdentity(options?: {
  /** Which one, if there are several: one of these. */
  clientId?: string | undefined;
  objectId?: string | undefined;
  resourceId?: string | undefined;
  /** `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` of App Service, Functions or Container Apps. */
  endpoint?: string | undefined;
  header?: string | undefined;
  /** Where the metadata service is, if not at its address. */
  imds?: string | undefined;
  fetch?: Fetch | undefined;
}): Identity;

/** The identity that variables describe: `AZURE_CLIENT_SECRET` and others, as Azure's tools have it. */
export declare function fromEnv(
  env: Readonly<Record<string, unknown>>,
  options?: { fetch?: Fetch | undefined },
): Identity;

/** When tokens are renewed. */
export interface RefreshPolicy {
  /** After which share of its life, 0 to 1. */
  expirationRefreshRatio?: number;
  /** So many milliseconds before its end at the latest. */
  lowerRefreshBound?: number;
  /** What a request for a token may take, in milliseconds: 30,000, and 5,000 for a manager in Workers. */
  tokenRequestTimeout?: number;
  /** How a request that failed is repeated. */
  retry?: RetryPolicy;
}

/** How a request for a token that failed is repeated: quickly at first, then slowly, and for ever. */
export interface RetryPolicy {
  /** How many quick attempts follow a failure: 5. */
  maxAttempts?: number;
  /** The wait before the first of them, in milliseconds: 1000. It is never shorter than a second. */
  initialDelay?: number;
  /** The longest wait between quick attempts, in milliseconds: 30,000. */
  maxDelay?: number;
  /** What the wait is multiplied by from one attempt to the next, a whole number: 2. */
  backoffMultiplier?: number;
  /** The wait between slow attempts, in milliseconds: 60,000. */
  slowDelay?: number;
}

/** Something that happened, for logs. Never a token in it. */
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
  /** A sentence. */
  readonly message: string;
}

/** What tokens are got with. */
export interface TokenOptions {
  provider: TokenFunction | Identity;
  policy?: RefreshPolicy | undefined;
  /** What the first token, and the first connection, may take together. The default is 30,000. */
  startTimeout?: number | undefined;
  onEvent?: ((event: RedisEvent) => void) | undefined;
  /** In place of the host's, for identities. */
  fetch?: Fetch | undefined;
}

/** What may be chosen. All times are milliseconds. */
export interface Options extends TokenOptions {
  /** The server's name, `<name>.<region>.redis.azure.net`. */
  host?: string | undefined;
  /** The default is 10000. */
  port?: number | undefined;
  /** What is dialed in place of the server's name. The name is verified as ever. */
  address?: string | undefined;
  /** Opens connections, again when one broke: `connectNode()`, `connectDeno()`, `connectWorkers()`. */
  connect?: Connect | undefined;
  /** One connection that is open already. When it ends, so does the client. */
  transport?: Transport | undefined;
  /** The default is 3. */
  protocol?: 2 | 3 | undefined;
  /** The name under which the server lists the connection. */
  name?: string | undefined;
  /** Nobody else uses this client: `MULTI` and `WATCH` may be commands of their own. Else they are
   * refused, since other calls would come between. */
  dedicated?: boolean | undefined;
  /** For programs that live for one request: no token is fetched before it has to be, or somebody
   * calls `refreshIfDue`. */
  oneRequest?: boolean | undefined;
  /** When everything is over, counted from here. */
  deadline?: number | undefined;
  /** How long a command may wait to be sent: while there is no connection, and behind others. The
   * default is `commandTimeout`. */
  queueTimeout?: number | undefined;
  /** How long a command may wait for its reply from when it was sent, besides the time that it blocks at
   * the server by itself. The default is 5,000: `BLPOP key 0` is waited for as long as it takes. */
  commandTimeout?: number | undefined;
  /** After so much silence the server is asked whether it is there. The default is 240,000. */
  pingInterval?: number | undefined;
  /** The largest reply, in bytes. The default is 64 MiB. */
  maxReply?: number | undefined;
  /** How a subscriber's connection is replaced that can't log in again, as with protocol 2: it ends
   * first, with a gap (the default), or another one takes over, and messages may come twice. */
  replacement?: 'break' | 'overlap' | undefined;
  /** How many bytes of messages a subscriber keeps that were not read yet. The default is 1 MiB. */
  backlog?: number | undefined;
  /** Hears what the server sends the client unasked, as the keys that `CLIENT TRACKING` reports. */
  onPush?: ((push: Reply) => void) | undefined;
  /** A token that was kept: see `changedSnapshot`. It is only used for the identity that it was made
   * for. Providers that are functions are taken for one identity: keep a snapshot for each. */
  snapshot?: Uint8Array | ArrayBuffer | null | undefined;
}

/** A part of a command. */
export type Argument = string | number | bigint | Uint8Array;

/** A reply. A string that isn't UTF-8 comes as bytes; an error inside of others is a value. */
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

/** For how long somebody waits for a command, or for a pipeline. */
export interface CallOptions {
  /** So many milliseconds, instead of `commandTimeout`, wherever the command is then: in line, on its
   * way, or blocking at the server, as `BLPOP key 0`. */
  timeout?: number | undefined;
  /** Gives it up when it is aborted: the call is rejected with the signal's reason. What was not sent
   * by then is never sent; what was may be executed. */
  signal?: AbortSignal | undefined;
}

/** How a client stands. */
export interface Health {
  readonly isConnected: boolean;
  /** Whether a command that is sent now will be sent: for readiness probes. It stays so while the client
   * logs in again, and ends when a reply is overdue. */
  readonly isReady: boolean;
  /** Logins on new connections, and with newer tokens on live ones. */
  readonly connects: number;
  readonly reauths: number;
  readonly token: {
    readonly requests: number;
    /** New tokens, the first one included. */
    readonly refreshes: number;
    readonly failures: number;
    /** Tokens that a server refused. */
    readonly rejections: number;
    /** Milliseconds; `undefined` without a token. */
    readonly age: number | undefined;
    readonly expiresIn: number | undefined;
  };
}

/** A client on one connection, which it keeps open and logged in. */
export declare class Client {
  constructor(options: Options);
  /** Waits until there is a connection, on which nothing was heard yet. */
  connected(): Promise<void>;
  /** Waits until the server has accepted the login. */
  loggedIn(): Promise<void>;
  /** Sends a command and comes to its reply. Calls may come at any time; they are answered in order. */
  command(...args: Argument[]): Promise<Reply>;
  command(...args: [...Argument[], CallOptions]): Promise<Reply>;
  /** The same, with strings as bytes. */
  commandBytes(...args: Argument[]): Promise<Reply>;
  commandBytes(...args: [...Argument[], CallOptions]): Promise<Reply>;
  /** Sends commands one behind the other, and resolves to all replies; an error is one of them. A
   * `timeout` is for all of them together. What lies between `MULTI` and `EXEC` is sent as a whole or
   * not at all. */
  pipeline(commands: Argument[][], options?: CallOptions & { bytes?: boolean }): Promise<Reply[]>;
  /** What a program that can't run in the background should do about its token. */
  pull(): 'use' | 'use-then-refresh' | 'fetch-first';
  /** Fetches the next token if it is due. */
  refreshIfDue(): Promise<void>;
  /** The token as bytes, if it isn't the one that was given before. It is a secret: seal it. */
  changedSnapshot(): Uint8Array<ArrayBuffer> | undefined;
  /** How it stands. */
  health(): Health;
  /** Makes a subscriber: a connection of its own, with this client's tokens. With `bytes`, names and
   * messages come as bytes. */
  subscriber(options: { bytes: true }): Subscriber<Uint8Array>;
  subscriber(options?: { bytes?: boolean }): Subscriber;
  /** Makes a subscriber and waits until the server has confirmed its subscription to `channels`. */
  subscribe(...channels: Argument[]): Promise<Subscriber>;
  /** The same for patterns of channels. */
  psubscribe(...patterns: Argument[]): Promise<Subscriber>;
  /** Takes no more commands. Resolves when those that were given are answered, or their time is over, and
   * connection and subscribers are closed. */
  close(): Promise<void>;
  /** Closes the connection at once, and its subscribers. A command without a reply fails. */
  destroy(): void;
}

/** What a subscriber hears. */
export type Delivery<T = string | Uint8Array> =
  /** Somebody published something; a string that isn't UTF-8 comes as bytes. */
  | { readonly type: 'message'; readonly channel: T; readonly message: T; readonly pattern?: T }
  /** The connection was lost and made again: what was published in between is missing. From here on
   * nothing is. */
  | { readonly type: 'gap' }
  /** So many messages were dropped here, since too many wait to be read or one was too large. */
  | { readonly type: 'missed'; readonly count: number }
  /** Another connection takes the place of this one: from here to `settled`, messages may come
   * twice. */
  | { readonly type: 'overlap' }
  | { readonly type: 'settled' }
  /** The server refuses what it granted before: that subscription has ended. */
  | { readonly type: 'refused'; readonly name: T; readonly error: RedisError };

/** Hears what is published, on a connection of its own, and stays subscribed: `for await (const
 * delivery of subscriber)`. A loop that is left closes it. */
export declare class Subscriber<T = string | Uint8Array> implements AsyncIterableIterator<Delivery<T>> {
  private constructor();
  /** Waits until the server has accepted the login. */
  loggedIn(): Promise<void>;
  /** Subscribes to channels, and waits until the server has confirmed it. What couldn't be had in
   * time is still wanted. */
  subscribe(...channels: Argument[]): Promise<void>;
  /** The same for patterns of channels. */
  psubscribe(...patterns: Argument[]): Promise<void>;
  /** The same for shard channels. */
  ssubscribe(...channels: Argument[]): Promise<void>;
  /** Ends subscriptions. What was published before may still come. */
  unsubscribe(...channels: Argument[]): void;
  punsubscribe(...patterns: Argument[]): void;
  sunsubscribe(...channels: Argument[]): void;
  /** Waits for what comes next; done when it is closed, or its client. */
  next(): Promise<IteratorResult<Delivery<T>, undefined>>;
  /** What a loop calls that is left: closes it. */
  return(value?: undefined): Promise<IteratorResult<Delivery<T>, undefined>>;
  [Symbol.asyncIterator](): this;
  /** How it stands. */
  health(): Health;
  /** Ends it, and its connection with it. */
  close(): void;
}

/** Makes a client and waits until there is a connection: its first commands go out together with
 * the login. */
export declare function connect(options: Options): Promise<Client>;

/** Makes a subscriber without a client, and waits until the server has accepted its login. With
 * `bytes`, names and messages come as bytes. */
export declare function listen(options: Options & { bytes: true }): Promise<Subscriber<Uint8Array>>;
export declare function listen(options: Options & { bytes?: boolean }): Promise<Subscriber>;

/** Has one of many requests of a Worker do what all of them wait for. It may be at module scope, where
 * no promise may be that belongs to a request. */
export declare class Lease {
  /** Comes to what `find` finds that others did; does `work` itself, if nobody else does. Who waits
   * looks again and again, for so many milliseconds: 30,000. */
  share<T>(find: () => T | undefined, work: () => Promise<T>, patience?: number): Promise<T>;
  /** Whether nobody is at it. */
  isFree(): boolean;
  /** Does `work`, whoever else does. */
  hold<T>(work: () => Promise<T>): Promise<T>;
}

/** What went wrong. `cause` is what a provider or an adapter has thrown. */
export declare class RedisError extends Error {
  /** The first word of what the server said, if it said something: `WRONGTYPE`. */
  readonly code: string | undefined;
  /** Whose fault it is. */
  readonly kind: 'usage' | 'token' | 'connect' | 'tls' | 'rejected' | 'server' | 'lost' | 'broken';
  /** Whether the command may have been executed. What was not sent may safely be repeated. */
  readonly outcome: 'NotSent' | 'Unknown';
  /** What `JSON.stringify` shows. */
  toJSON(): { name: string; message: string; code: string | undefined; kind: string; outcome: string };
}
