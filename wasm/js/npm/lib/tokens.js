import { initSync, RawManager } from '../wasm/tokens.js';
import { makeHost } from './host.js';
import { Lazy } from './lazy.js';
import { rawOptions } from './options.js';

/** The module of the token manager, which is a small one of its own. */
export const tokensModule = new Lazy(initSync);

/** What comes before the first token. */
const NONE = { generation: 0 };

/** Keeps an identity's token fresh, from the first call on, until it is closed. */
export class TokenManager {
  #options;
  #raw;
  // How many tokens came before it was closed: numbers go on.
  #before = 0;
  #newest = 0;

  constructor(options) {
    // Checked here, so that a mistake is seen where it was made.
    rawOptions(options);
    this.#options = options;
  }

  #started() {
    if (!this.#raw) {
      tokensModule.load();
      this.#raw = new RawManager(
        makeHost(this.#options, { background: true }),
        rawOptions(this.#options),
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
    return { generation, user, token, expiresIn };
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
    this.#raw = undefined;
    this.#before = this.#newest;
  }
}

const credentials = ({ user, token }) => ({ username: user, password: token });

// A client that reconnects lets go and comes back: the token should be there still.
const LINGER = 10_000;

/** A streaming credentials provider for node-redis: `createClient({ credentialsProvider })`. */
export const streamingCredentials = (options) => {
  const manager = new TokenManager(options);
  let newest;
  let subscribers = 0;
  let linger;
  const leave = () => {
    subscribers -= 1;
    if (subscribers > 0) return;
    linger = setTimeout(() => manager.close(), LINGER);
    // It is no reason for a process to live on.
    linger.unref?.();
  };
  return {
    type: 'streaming-credentials-provider',

    async subscribe({ onNext, onError }) {
      clearTimeout(linger);
      subscribers += 1;
      let live = true;
      const dispose = () => {
        if (live) leave();
        live = false;
      };
      try {
        // node-redis has a socket while it waits here. That keeps the process, and nothing else does:
        // a client that is destroyed meanwhile says nothing of it.
        let token = await manager.after(NONE);
        newest = token;
        const follow = async () => {
          while (live) {
            token = await manager.after(token);
            newest = token;
            try {
              if (live) onNext(credentials(token));
            } catch (error) {
              onError?.(error);
            }
          }
        };
        // It only fails when the manager is closed. The stream itself never does: who can't get a
        // token tries on, and `onEvent` hears of it.
        follow().catch(() => {});
        return [credentials(token), { dispose }];
      } catch (error) {
        dispose();
        throw error;
      }
    },

    onReAuthenticationError(error) {
      // What a server says begins with a code. A client that is closed says nothing of the token.
      if (newest && /(^|: )[A-Z]{3,} /.test(error?.message)) manager.rejected(newest);
      options.onReAuthenticationError?.(error);
    },
  };
};
