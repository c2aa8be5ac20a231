const ratio = (share) => {
  if (share === undefined) return undefined;
  if (!(share >= 0 && share <= 1)) {
    throw new TypeError('policy.expirationRefreshRatio is a number from 0 to 1');
  }
  return Math.round(share * 1e6);
};

/** The options as the module takes them. */
export const rawOptions = (options) => {
  const { provider, policy = {} } = options;
  if (typeof provider !== 'function' && !provider?.variables) {
    throw new TypeError('`provider` is missing: an async function that yields a token, or an identity');
  }
  const host = options.host ?? 'localhost';
  return {
    host,
    port: options.port,
    address: options.address,
    name: options.name,
    resp2: options.protocol === 2,
    oneRequest: !!options.oneRequest,
    idle: options.pingInterval,
    commandTimeout: options.commandTimeout,
    startTimeout: options.startTimeout,
    deadline: options.deadline,
    maxReply: options.maxReply,
    refreshRatio: ratio(policy.expirationRefreshRatio),
    lowerRefreshBound: policy.lowerRefreshBound,
    tokenRequestTimeout: policy.tokenRequestTimeout,
    seed: Math.floor(Math.random() * 2 ** 53),
    hasProvider: typeof provider === 'function',
    variable: (name) => {
      const value = name === 'REDIS_HOSTNAME' ? host : provider.variables[name];
      // The server is said elsewhere.
      return name === 'REDIS_ENDPOINT' || value == null ? undefined : String(value);
    },
  };
};
