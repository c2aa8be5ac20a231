// Where this runs: what differs from host to host.

const deno = globalThis.Deno;

/** The environment. */
export const env = deno ? deno.env.toObject() : process.env;

/** Whether there are files. */
export const hasFiles = true;

/** Writes a file of this folder, or removes it. */
export const write = async (path, text) => {
  const files = await import('node:fs/promises');
  await (text === undefined ? files.rm(path, { force: true }) : files.writeFile(path, text));
};

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

/** Listens on some port, and hands out the connections. */
export const serve = async (onConnection) => {
  if (deno) {
    const listener = deno.listen({ hostname: '127.0.0.1', port: 0 });
    (async () => {
      for await (const connection of listener) {
        let isClosed = false;
        onConnection({ isClosed: () => isClosed, close: () => isClosed || connection.close() });
        connection.readable.pipeTo(new WritableStream()).then(() => (isClosed = true), () => (isClosed = true));
      }
    })().catch(() => {});
    return { port: listener.addr.port, close: () => listener.close() };
  }
  const { createServer } = await import('node:net');
  const server = createServer((socket) => {
    onConnection({ isClosed: () => socket.closed, close: () => socket.destroy() });
    socket.on('error', () => {}).resume();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: server.address().port, close: () => server.close() };
};
