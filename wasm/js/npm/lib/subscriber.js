import { healthOf } from './health.js';
import { pack } from './pack.js';

const [CHANNEL, PATTERN, SHARD] = [0, 1, 2];

/** What the parts of a delivery are called, behind its type. */
const PARTS = {
  message: ['channel', 'message', 'pattern'],
  missed: ['count'],
  refused: ['name', 'error'],
};

const deliveryOf = ([type, ...parts]) => {
  const delivery = { type };
  parts.forEach((part, at) => {
    delivery[PARTS[type][at]] = part;
  });
  return delivery;
};

/** Hears what is published, on a connection of its own: an iterator of what comes. */
export class Subscriber {
  #raw;
  #bytes;
  #done = false;

  constructor(raw, bytes) {
    this.#raw = raw;
    this.#bytes = bytes;
  }

  /** Waits until the server has accepted the login. */
  async loggedIn() {
    await this.#raw.loggedIn();
  }

  /** Subscribes to channels, and waits until the server has confirmed it. */
  async subscribe(...channels) {
    await this.#raw.subscribe(CHANNEL, pack([channels]));
  }

  /** The same for patterns of channels. */
  async psubscribe(...patterns) {
    await this.#raw.subscribe(PATTERN, pack([patterns]));
  }

  /** The same for shard channels. */
  async ssubscribe(...channels) {
    await this.#raw.subscribe(SHARD, pack([channels]));
  }

  /** Ends subscriptions. What was published before may still come. */
  unsubscribe(...channels) {
    this.#raw.unsubscribe(CHANNEL, pack([channels]));
  }

  punsubscribe(...patterns) {
    this.#raw.unsubscribe(PATTERN, pack([patterns]));
  }

  sunsubscribe(...channels) {
    this.#raw.unsubscribe(SHARD, pack([channels]));
  }

  /** Waits for what comes next. */
  async next() {
    const heard = this.#done ? undefined : await this.#raw.next(this.#bytes);
    if (heard && !this.#done) return { value: deliveryOf(heard), done: false };
    return { value: undefined, done: true };
  }

  /** What a loop calls that is left. */
  async return(value) {
    this.close();
    return { value, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** How the connection and the token stand. Never shows it. */
  health() {
    return healthOf(this.#raw.health());
  }

  /** Ends it, and its connection with it. */
  close() {
    this.#done = true;
    this.#raw.close();
  }
}
