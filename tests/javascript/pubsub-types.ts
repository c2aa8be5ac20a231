// What is checked here is that what a subscriber hears can be told apart, and its text from bytes.

import { connect, listen } from 'redis-entraid-js';
import type { Delivery, Options, Subscriber } from 'redis-entraid-js';

export const texts = async (options: Options): Promise<(string | Uint8Array)[]> => {
  const redis = await connect({ ...options, replacement: 'overlap', backlog: 1000, onPush: (push) => void push });
  const said: (string | Uint8Array)[] = [];
  for await (const delivery of await redis.subscribe('news')) {
    switch (delivery.type) {
      case 'message':
        said.push(delivery.message);
        break;
      case 'missed':
        said.push(String(delivery.count + 1));
        break;
      case 'refused':
        said.push(delivery.name, delivery.error.message);
        break;
      case 'gap':
      case 'overlap':
      case 'settled':
        break;
      default: {
        const none: never = delivery;
        return none;
      }
    }
  }
  return said;
};

export const bytes = async (options: Options): Promise<number> => {
  const subscriber: Subscriber<Uint8Array> = await listen({ ...options, bytes: true });
  await subscriber.psubscribe('n*');
  const { value, done } = await subscriber.next();
  if (done) return 0;
  const delivery: Delivery<Uint8Array> = value;
  return delivery.type === 'message' ? delivery.message.length : 0;
};
