// Where this runs: what differs from host to host.

const deno = globalThis.Deno;

/** The environment. */
export const env = deno ? deno.env.toObject() : process.env;

/** Connects with the roots of `pem` only, or without TLS. */
export const connector = async ({ pem, plain = false } = {}) => {
  if (deno) {
    const { connectDeno } = await import('redis-entraid-js/deno');
    return connectDeno({ plain, caCerts: pem && [pem] });
  }
  const { connectNode } = await import('redis-entraid-js/node');
  return connectNode({ plain, ca: pem });
};

/** Lines of standard input. */
export async function* lines() {
  const decoder = new TextDecoder();
  let left = '';
  for await (const chunk of deno ? deno.stdin.readable : process.stdin) {
    const parts = (left + decoder.decode(chunk, { stream: true })).split('\n');
    left = parts.pop();
    yield* parts;
  }
}

/** Writes a line to standard output. */
export const say = (line) => console.log(line);

/** Waits. */
export const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis));
