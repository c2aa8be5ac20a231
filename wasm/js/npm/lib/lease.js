import { RedisError } from './errors.js';

// Who ends in the middle holds nothing up for longer than that.
const LEASE = 1_000;
const RENEWAL = 200;
const LOOK = 20;

// Who takes longer may go on, beside the next one.
const LONGEST = 5_000;

/** Waits, by a timer of the request that asks. */
export const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

/** Has one of many requests do what all of them wait for. They share the time until which somebody
 * does it, and what came of it, but no promise and no timer: those belong to a request, and end with
 * it. */
export class Lease {
  #until = 0;
  #holder;

  /** Comes to what `find` finds, sooner or later; does `work` itself, if nobody else does. Nobody waits for
   * others longer than `patience`. */
  async share(find, work, patience = 30_000) {
    for (const end = Date.now() + patience; Date.now() <= end; await sleep(LOOK)) {
      const found = find();
      if (found !== undefined) return found;
      if (this.isFree()) return this.hold(work);
    }
    throw new RedisError('who fetches the token took too long', undefined, 'token', 'NotSent');
  }

  /** Whether nobody is at it. */
  isFree() {
    return Date.now() >= this.#until;
  }

  /** Does `work`, and has the others wait for as long as that lives. */
  async hold(work) {
    const me = {};
    const end = Date.now() + LONGEST;
    const renew = () => {
      if (this.#holder === me && Date.now() < end) this.#until = Date.now() + LEASE;
    };
    this.#holder = me;
    renew();
    const renewal = setInterval(renew, RENEWAL);
    try {
      return await work();
    } finally {
      clearInterval(renewal);
      if (this.#holder === me) this.#until = 0;
    }
  }
}
