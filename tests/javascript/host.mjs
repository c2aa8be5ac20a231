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

/** Writes a line to standard output. */
export const say = (line) => console.log(line);

/** Waits. */
export const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis));
