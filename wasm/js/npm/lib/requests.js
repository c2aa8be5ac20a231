import { initSync, RawManager } from '../wasm/tokens.js';
import { throwIfBroken } from './broken.js';
import { RedisError } from './errors.js';
import { makeHost } from './host.js';
import { Lazy } from './lazy.js';
import { Lease, sleep } from './lease.js';
import { rawOptions, TOKEN_OPTIONS } from './options.js';

/** The module of the token manager. */
export const tokensModule = new Lazy(initSync);

const NONE = { generation: 0 };

// The longest that somebody who has a live token waits for another one.
const PATIENCE = 2_000;

// What one attempt at the endpoint may take.
const ATTEMPT = 5_000;

// After a request that failed, while the token lives.
const LATER = 5_000;

// For so long, a failure is everybody's who waits.
const FAILED = 1_000;

/** Keeps an identity's token fresh where all that runs belongs to a request: the first caller when one is
 * due fetches it, and the others use the one that there is, or wait for it. */
export class TokenManager {
  #options;
  #patience;
  #lease = new Lease();
  /** The newest one: data, no promise. */
  #kept;
  #refused;
  #newest = 0;
  #failure;
  /** How often it was closed. */
  #epoch = 0;
  /** A server refused the token before this one, too: not before that. */
  #notBefore = 0;

  constructor(options) {
    this.#patience = rawOptions(options, TOKEN_OPTIONS).startTimeout ?? 30_000;
    // One attempt that hangs leaves time for another one within the same request.
    this.#options = { ...options, policy: { tokenRequestTimeout: ATTEMPT, ...options.policy } };
  }

  /** One that can be used still. */
  #live(behind) {
    const kept = this.#kept;
    const isLive = kept && kept.generation > behind && kept.generation !== this.#refused;
    return isLive && Date.now() < kept.expiresAt ? kept : undefined;
  }

  /** Fetches one, within this request. */
  async #fetch() {
    await sleep(this.#notBefore - Date.now());
    throwIfBroken();
    tokensModule.load();
    const raw = new RawManager(makeHost(this.#options), rawOptions(this.#options, TOKEN_OPTIONS));
    try {
      const [, user, token, left, due] = await raw.next(0);
      const now = Date.now();
      this.#newest += 1;
      this.#kept = { generation: this.#newest, user, token, expiresAt: now + left, dueAt: now + due };
      this.#failure = undefined;
      return this.#kept;
    } catch (error) {
      this.#failure = { error, until: Date.now() + FAILED };
      throw error;
    } finally {
      raw.close();
      // The token is wiped there now, and not when it is collected.
      raw.free();
    }
  }

  /** What there is for who asked in this `epoch`. */
  #find(behind, epoch) {
    if (epoch !== this.#epoch) throw failed('it was closed');
    const live = this.#live(behind);
    if (live) return live;
    const failure = this.#failure;
    if (failure && Date.now() < failure.until) throw copied(failure.error);
    return undefined;
  }

  async #next(behind) {
    const live = this.#live(behind);
    if (live && live.dueAt <= Date.now() && this.#lease.isFree()) {
      // Whatever comes of it, the old one serves on.
      live.dueAt = Date.now() + LATER;
      const fetched = this.#lease.hold(() => this.#fetch()).catch(() => {});
      await Promise.race([fetched, sleep(Math.min(PATIENCE, live.expiresAt - Date.now() - PATIENCE))]);
    }
    const epoch = this.#epoch;
    return this.#lease.share(() => this.#find(behind, epoch), () => this.#fetch(), this.#patience);
  }

  /** A token that is live now; waits for the first one. */
  token() {
    return this.#given(NONE);
  }

  async #given(have) {
    const { generation, user, token, expiresAt } = await this.#next(have.generation);
    return { generation, user, token, expiresOnTimestamp: expiresAt };
  }

  /** The next token behind `token`, when it comes. */
  async after(token) {
    const epoch = this.#epoch;
    for (;;) {
      // Until it is due, nobody has to ask; somebody else may.
      const kept = this.#live(NONE.generation);
      const wait = kept?.generation === token.generation ? kept.dueAt - Date.now() : 0;
      if (wait > 0) {
        await sleep(Math.min(wait, FAILED));
        continue;
      }
      try {
        return await this.#given(token);
      } catch (error) {
        // Who has one asks again, for as long as it takes.
        if (token.generation === NONE.generation || epoch !== this.#epoch) throw error;
        await sleep(LATER);
      }
    }
  }

  /** Tells that a server refused `token`: another one is fetched. */
  rejected({ generation }) {
    if (this.#kept?.generation !== generation || this.#refused === generation) return;
    if (this.#refused === generation - 1) this.#notBefore = Date.now() + LATER;
    this.#refused = generation;
  }

  /** Tells that a server took `token`. */
  accepted({ generation }) {
    if (this.#refused < generation) this.#refused = undefined;
  }

  /** Forgets the token, and ends who waits for one. */
  close() {
    this.#kept = undefined;
    this.#failure = undefined;
    this.#epoch += 1;
  }
}

const failed = (message) => new RedisError(message, undefined, 'lost', 'NotSent');

/** The same error, thrown here. */
const copied = ({ message, code, kind, outcome }) => new RedisError(message, code, kind, outcome);
