const encoder = new TextEncoder();

/** What is packed next, which the module copies: as large as most commands. */
let room = new Uint8Array(4 << 10);

// What is larger gets room of its own, which is let go.
const KEPT = 64 << 10;

const textOf = (arg) => {
  if (typeof arg === 'string') return arg;
  if (typeof arg === 'bigint' || (typeof arg === 'number' && Number.isFinite(arg))) return String(arg);
  const what = typeof arg === 'number' ? arg : typeof arg;
  throw new TypeError(`an argument is a string, a number or a Uint8Array, not ${what}`);
};

/** Has room for so many bytes more than are `used`. */
const more = (used, wanted) => {
  if (used + wanted <= room.length) return;
  const larger = new Uint8Array(2 * (used + wanted));
  larger.set(room.subarray(0, used));
  room = larger;
};

const number = (at, value) => {
  room[at] = value;
  room[at + 1] = value >>> 8;
  room[at + 2] = value >>> 16;
  room[at + 3] = value >>> 24;
};

/** Puts an argument at `at`, and says where it ends. */
const put = (arg, at) => {
  const start = at + 4;
  if (arg instanceof Uint8Array) {
    more(at, 4 + arg.length);
    number(at, arg.length);
    room.set(arg, start);
    return start + arg.length;
  }
  const text = textOf(arg);
  // No character takes more than three bytes.
  more(at, 4 + 3 * text.length);
  const { written } = encoder.encodeInto(text, room.subarray(start));
  number(at, written);
  return start + written;
};

/** Commands in one piece of memory: counts and lengths in four bytes each, little end first. It is good
 * until the next call. */
export const pack = (commands) => {
  if (room.length > KEPT) room = new Uint8Array(4 << 10);
  let end = 0;
  // Both are arrays, or it is a mistake.
  commands.map((args) => {
    more(end, 4);
    number(end, args.length);
    end += 4;
    args.map((arg) => {
      end = put(arg, end);
    });
  });
  return room.subarray(0, end);
};
