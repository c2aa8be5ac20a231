import { initSync, RawClient } from '../wasm/client.js';
import { makeHost } from './host.js';
import { Lazy } from './lazy.js';
import { rawOptions, snapshotOf } from './options.js';
import { pack } from './pack.js';

/** The module of the client. */
export const clientModule = new Lazy(initSync);

const PULL = ['use', 'use-then-refresh', 'fetch-first'];

/** A client on one connection, which it keeps open and logged in. */
export class Client {
  #raw;

  /** See `connect`. */
  constructor(options) {
    if (!options.connect && !options.transport) {
      throw new TypeError('`connect` is missing: connectNode(), connectDeno() or connectWorkers(), say');
    }
    if (!options.host && !options.transport) {
      throw new TypeError('`host` is missing: <name>.<region>.redis.azure.net');
    }
    clientModule.load();
    const snapshot = snapshotOf(options.snapshot);
    this.#raw = new RawClient(makeHost(options), rawOptions(options), snapshot);
  }

  /** Waits until there is a connection, on which nothing was heard yet. */
  async connected() {
    await this.#raw.connected();
  }

  /** Waits until the server has accepted the login. */
  async loggedIn() {
    await this.#raw.loggedIn();
  }

  /** Sends a command and comes to its reply. */
  async command(...args) {
    return this.#raw.execute(pack([args]), true, false);
  }

  /** The same, with strings as bytes. */
  async commandBytes(...args) {
    return this.#raw.execute(pack([args]), true, true);
  }

  /** Sends commands one behind the other, and comes to all replies; an error is one of them. */
  async pipeline(commands, { bytes = false } = {}) {
    return this.#raw.execute(pack(commands), false, bytes);
  }

  /** What a host without a background task should do about its token. */
  pull() {
    return PULL[this.#raw.pull()];
  }

  /** Fetches the next token if it is due. */
  async refreshIfDue() {
    await this.#raw.refreshIfDue();
  }

  /** The token as bytes, if it isn't the one that was given before. */
  changedSnapshot() {
    return this.#raw.changedSnapshot();
  }

  /** How the connection and the token stand. Never shows it. */
  health() {
    const [isConnected, connects, reauths, requests, refreshes, failures, rejections, age, left] =
      this.#raw.health();
    const millis = (number) => (Number.isNaN(number) ? undefined : number);
    return {
      isConnected: isConnected === 1,
      connects,
      reauths,
      token: { requests, refreshes, failures, rejections, age: millis(age), expiresIn: millis(left) },
    };
  }

  /** Ends it, and the connection with it. What has no reply yet fails. */
  close() {
    this.#raw.close();
  }
}

/** Makes a client and waits until there is a connection: its first commands go out together with
 * the login. */
export const connect = async (options) => {
  const client = new Client(options);
  try {
    await client.connected();
    return client;
  } catch (error) {
    client.close();
    throw error;
  }
};
