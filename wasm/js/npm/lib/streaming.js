const credentials = ({ user, token }) => ({ username: user, password: token });

// A client that reconnects lets go and comes back: the token should be there still.
const LINGER = 10_000;

/** A streaming credentials provider for node-redis, with what keeps its tokens: `createClient({
 * credentialsProvider })`. */
export const streaming = (manager, onReAuthenticationError) => {
  let newest;
  let subscribers = 0;
  let linger;
  const leave = () => {
    subscribers -= 1;
    if (subscribers > 0 || !manager.runs) return;
    linger = setTimeout(() => manager.close(), LINGER);
    // It is no reason for a process to live on.
    linger.unref?.();
  };
  return {
    type: 'streaming-credentials-provider',

    async subscribe({ onNext, onError }) {
      clearTimeout(linger);
      subscribers += 1;
      let live = true;
      const dispose = () => {
        if (live) leave();
        live = false;
      };
      try {
        // node-redis has a socket while it waits here. That keeps the process, and nothing else does:
        // a client that is destroyed meanwhile says nothing of it.
        let token = await manager.after({ generation: 0 });
        newest = token;
        const follow = async () => {
          while (live) {
            token = await manager.after(token);
            newest = token;
            try {
              if (live) onNext(credentials(token));
            } catch (error) {
              onError?.(error);
            }
          }
        };
        // It only fails when the manager is closed. The stream itself never does: who can't get a
        // token tries on, and `onEvent` hears of it.
        follow().catch(() => {});
        return [credentials(token), { dispose }];
      } catch (error) {
        dispose();
        throw error;
      }
    },

    onReAuthenticationError(error) {
      // What a server says begins with a code. A client that is closed says nothing of the token.
      if (newest && /(^|: )[A-Z]{3,} /.test(error?.message)) manager.rejected(newest);
      onReAuthenticationError?.(error);
    },
  };
};
