import { initSync, RawClient, RawSubscriber } from '../wasm/client.js';
import { throwIfBroken } from './broken.js';
import { withFrames } from './errors.js';
import { healthOf } from './health.js';
import { makeHost } from './host.js';
import { Lazy } from './lazy.js';
import { onlyKnown } from './names.js';
import { CLIENT_OPTIONS, rawOptions, snapshotOf } from './options.js';
import { pack } from './pack.js';
import { Subscriber } from './subscriber.js';

/** The module of the client. */
export const clientModule = new Lazy(initSync);

/** A class of the module, made as `options` say. */
const made = (Raw, options) => {
  const raw = rawOptions(options, CLIENT_OPTIONS);
  if (!options.connect && !options.transport) {
    throw new TypeError('`connect` is missing: connectNode(), connectDeno() or connectWorkers(), say');
  }
  if (!options.host && !options.transport) {
    throw new TypeError('`host` is missing: <name>.<region>.redis.azure.net');
  }
  throwIfBroken();
  clientModule.load();
  return new Raw(makeHost(options), raw, snapshotOf(options.snapshot));
};

/** What was made, when all that it takes has worked; else it is ended. */
const opened = async (one, end, ...steps) => {
  try {
    for (const step of steps) await step();
    return one;
  } catch (error) {
    end();
    throw error;
  }
};

/** A subscriber that is logged in, when all that it takes has worked. */
const subscribed = (subscriber, ...steps) =>
  opened(subscriber, () => subscriber.close(), () => subscriber.loggedIn(), ...steps);

const OPTIONS = ['timeout', 'signal'];
const NO_OPTIONS = {};
const KNOWN = [...OPTIONS, 'bytes'];

/** What was given behind the arguments, if anything was. */
const withOptions = (args) => {
  const last = args.at(-1);
  if (typeof last !== 'object' || last === null || last instanceof Uint8Array) return [args, NO_OPTIONS];
  const isOptions =
    OPTIONS.some((name) => name in last) ||
    (last.constructor === Object && Object.keys(last).length > 0);
  return isOptions ? [args.slice(0, -1), last] : [args, NO_OPTIONS];
};

/** Has the module execute commands, for as long as is said and nobody gives them up. */
const execute = async (raw, commands, single, bytes, options) => {
  if (options !== NO_OPTIONS) onlyKnown(options, single ? OPTIONS : KNOWN, 'an option of a call');
  const { timeout, signal } = options;
  if (timeout !== undefined && !(timeout >= 0)) {
    throw new TypeError(`a timeout is so many milliseconds, not ${timeout}`);
  }
  throwIfBroken();
  const packed = pack(commands);
  signal?.throwIfAborted();
  let abort, settle;
  const aborted =
    signal &&
    new Promise((resolve) => {
      settle = resolve;
      abort = () => resolve(signal.reason);
      signal.addEventListener('abort', abort);
    });
  // Not within the `try`: V8 of Node 20 ends the process when it has compiled that and thinks better of
  // it while the module runs.
  const promise = raw.execute(packed, single, bytes, timeout, aborted);
  try {
    return await promise;
  } catch (error) {
    throw withFrames(error);
  } finally {
    signal?.removeEventListener('abort', abort);
    // What waits for it is let go.
    settle?.();
  }
};

/** Executes one command. */
const executeOne = (raw, all, bytes) => {
  const [args, options] = withOptions(all);
  return execute(raw, [args], true, bytes, options);
};

/** Waits for the module. */
const done = async (promise) => {
  try {
    await promise;
  } catch (error) {
    throw withFrames(error);
  }
};

const PULL = ['use', 'use-then-refresh', 'fetch-first'];

/** A client on one connection, which it keeps open and logged in. */
export class Client {
  #raw;

  /** See `connect`. */
  constructor(options) {
    this.#raw = made(RawClient, options);
  }

  /** Waits until there is a connection, on which nothing was heard yet. */
  connected() {
    return done(this.#raw.connected());
  }

  /** Waits until the server has accepted the login. */
  loggedIn() {
    return done(this.#raw.loggedIn());
  }

  /** Sends a command and comes to its reply. Behind its arguments there may be options. */
  command(...all) {
    return executeOne(this.#raw, all, false);
  }

  /** The same, with strings as bytes. */
  commandBytes(...all) {
    return executeOne(this.#raw, all, true);
  }

  /** Sends commands one behind the other, and resolves to all replies; an error is one of them. */
  pipeline(commands, options = NO_OPTIONS) {
    return execute(this.#raw, commands, false, !!options.bytes, options);
  }

  /** What a host without a background task should do about its token. */
  pull() {
    return PULL[this.#raw.pull()];
  }

  /** Fetches the next token if it is due. */
  refreshIfDue() {
    return done(this.#raw.refreshIfDue());
  }

  /** The token as bytes, if it isn't the one that was given before. */
  changedSnapshot() {
    return this.#raw.changedSnapshot();
  }

  /** How the connection and the token stand. Never shows it. */
  health() {
    return healthOf(this.#raw.health());
  }

  /** Makes a subscriber: a connection of its own, with this client's tokens. */
  subscriber({ bytes = false } = {}) {
    return new Subscriber(this.#raw.subscriber(), bytes);
  }

  /** Makes a subscriber and waits until it is subscribed to `channels`. */
  async subscribe(...channels) {
    const subscriber = this.subscriber();
    return subscribed(subscriber, () => subscriber.subscribe(...channels));
  }

  /** The same for patterns of channels. */
  async psubscribe(...patterns) {
    const subscriber = this.subscriber();
    return subscribed(subscriber, () => subscriber.psubscribe(...patterns));
  }

  /** Takes no more commands, and resolves when those that were given are answered and it has ended. */
  close() {
    return this.#raw.close();
  }

  /** Ends it at once, and its subscribers. What has no reply yet fails. */
  destroy() {
    this.#raw.destroy();
  }
}

/** Makes a client and waits until there is a connection: its first commands go out together with
 * the login. */
export const connect = async (options) => {
  const client = new Client(options);
  return opened(client, () => client.destroy(), () => client.connected());
};

/** Makes a subscriber without a client, and waits until the server has accepted its login. */
export const listen = async ({ bytes = false, ...options }) => {
  const subscriber = new Subscriber(made(RawSubscriber, options), bytes);
  return subscribed(subscriber);
};
