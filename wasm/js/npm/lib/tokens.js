import { initSync, RawManager } from '../wasm/tokens.js';
import { throwIfBroken } from './broken.js';
import { makeHost } from './host.js';
import { Lazy } from './lazy.js';
import { rawOptions, TOKEN_OPTIONS } from './options.js';

/** The module of the token manager, which is a small one of its own. */
export const tokensModule = new Lazy(initSync);

/** What comes before the first token. */
const NONE = { generation: 0 };

/** Keeps an identity's token fresh, from the first call on, until it is closed. */
export class TokenManager {
  #options;
  #raw;
  /** It goes on until it is closed. */
  runs = true;
  // How many tokens came before it was closed: numbers go on.
  #before = 0;
  #newest = 0;

  constructor(options) {
    // Checked here, so that a mistake is seen where it was made.
    rawOptions(options, TOKEN_OPTIONS);
    this.#options = options;
  }

  #started() {
    if (!this.#raw) {
      throwIfBroken();
      tokensModule.load();
      this.#raw = new RawManager(
        makeHost(this.#options, { background: true }),
        rawOptions(this.#options, TOKEN_OPTIONS),
      );
    }
    return this.#raw;
  }

  async #next(have) {
    const before = this.#before;
    const next = this.#started().next(have);
    const [number, user, token, expiresIn] = await next;
    const generation = before + number;
    this.#newest = Math.max(this.#newest, generation);
    return { generation, user, token, expiresOnTimestamp: Date.now() + expiresIn };
  }

  /** The module's own number of `token`; 0 if it is from before it was closed. */
  #number({ generation }) {
    return Math.max(0, generation - this.#before);
  }

  /** A token that is live now; waits for the first one. */
  async token() {
    // Its timers don't keep a process; who waits for them does.
    const waiting = setInterval(() => {}, 2 ** 30);
    try {
      return await this.after(NONE);
    } finally {
      clearInterval(waiting);
    }
  }

  /** The next token behind `token`, when it comes. */
  after(token) {
    return this.#next(this.#number(token));
  }

  /** Tells that a server refused `token`: another one is fetched. */
  rejected(token) {
    const number = this.#number(token);
    if (number > 0) this.#raw?.rejected(number);
  }

  /** Tells that a server took `token`. */
  accepted(token) {
    const number = this.#number(token);
    if (number > 0) this.#raw?.accepted(number);
  }

  /** Ends it. The next call begins anew. */
  close() {
    this.#raw?.close();
    // Its tokens are wiped now, and not when it is collected.
    this.#raw?.free();
    this.#raw = undefined;
    this.#before = this.#newest;
  }
}
