import { makeHost } from './host.js';
import { rawOptions } from './options.js';
import { wasm } from './wasm.js';

/** Keeps an identity's token fresh, from the first call on, until it is closed. */
export class TokenManager {
  #options;
  #raw;

  constructor(options) {
    // Checked here, so that a mistake is seen where it was made.
    rawOptions(options);
    this.#options = options;
  }

  #started() {
    if (!this.#raw) {
      const { RawManager } = wasm();
      this.#raw = new RawManager(
        makeHost(this.#options, { background: true }),
        rawOptions(this.#options),
      );
    }
    return this.#raw;
  }

  async #next(have) {
    const [generation, user, token, expiresIn] = await this.#started().next(have);
    return { generation, user, token, expiresIn };
  }

  /** A token that is live now; waits for the first one. */
  token() {
    return this.#next(0);
  }

  /** The next token behind `token`, when it comes. */
  after(token) {
    return this.#next(token.generation);
  }

  /** Tells that a server refused `token`: another one is fetched. */
  rejected(token) {
    this.#raw?.rejected(token.generation);
  }

  /** Tells that a server took `token`. */
  accepted(token) {
    this.#raw?.accepted(token.generation);
  }

  /** Ends it. The next call begins anew. */
  close() {
    this.#raw?.close();
    this.#raw = undefined;
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

    async subscribe({ onNext }) {
      clearTimeout(linger);
      subscribers += 1;
      let live = true;
      const dispose = () => {
        if (live) leave();
        live = false;
      };
      try {
        let token = await manager.token();
        newest = token;
        const follow = async () => {
          while (live) {
            token = await manager.after(token);
            newest = token;
            if (live) onNext(credentials(token));
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
      if (newest) manager.rejected(newest);
      options.onReAuthenticationError?.(error);
    },
  };
};
