/** Connects by TCP and, unless `plain`, TLS with a verified server. */
export const connectDeno =
  ({ plain = false, caCerts } = {}) =>
  async ({ address, port, serverName }) => {
    const tcp = await Deno.connect({ hostname: address, port });
    try {
      tcp.setNoDelay(true);
      tcp.setKeepAlive(true);
      if (plain) return tcp;
      // The name is verified, whatever was dialed.
      const connection = await Deno.startTls(tcp, { hostname: serverName, caCerts });
      await connection.handshake();
      return connection;
    } catch (error) {
      try {
        tcp.close();
      } catch {
        // It went with the handshake.
      }
      throw error;
    }
  };
