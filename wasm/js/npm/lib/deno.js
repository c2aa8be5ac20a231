import { onlyKnown } from './names.js';

/** Connects by TCP and, unless `plain`, TLS with a verified server. */
export const connectDeno = (options = {}) => {
  const { plain = false, caCerts } = onlyKnown(options, ['plain', 'caCerts']);
  return async ({ address, port, serverName, signal, begins }) => {
    const tcp = await Deno.connect({ hostname: address, port, signal });
    let connection = tcp;
    const close = () => {
      try {
        connection.close();
      } catch {
        // It went with the handshake.
      }
    };
    signal?.addEventListener('abort', close);
    try {
      tcp.setNoDelay(true);
      tcp.setKeepAlive(true);
      if (plain) return tcp;
      begins?.('tls');
      // The name is verified, whatever was dialed.
      connection = await Deno.startTls(tcp, { hostname: serverName, caCerts });
      await connection.handshake();
      return connection;
    } catch (error) {
      close();
      throw error;
    } finally {
      signal?.removeEventListener('abort', close);
    }
  };
};
