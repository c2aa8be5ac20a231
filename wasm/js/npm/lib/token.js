const seconds = (value) => {
  const number = value == null ? NaN : Number(value);
  return Number.isFinite(number) && number >= 0 ? number : undefined;
};

const date = (value) => (value instanceof Date ? value.getTime() / 1000 : value);

/** A token as the module takes it, from any form in which providers give one. */
export const issued = (given) => {
  if (typeof given === 'string') return { token: given };
  const token = given?.token ?? given?.accessToken ?? given?.access_token;
  if (typeof token !== 'string') {
    const error = new Error('the provider gave no token: a string, or an object with `token`');
    throw Object.assign(error, { kind: 'configuration' });
  }
  // `@azure/identity` has milliseconds since 1970.
  const millis = (value) => (value == null ? undefined : value / 1000);
  const refreshOn = millis(given.refreshAfterTimestamp);
  const { user } = given;
  return {
    token,
    user: typeof user === 'string' ? user : undefined,
    expiresIn: seconds(given.expires_in ?? given.expiresIn),
    expiresOn: seconds(
      millis(given.expiresOnTimestamp) ?? date(given.expiresOn) ?? given.expires_on,
    ),
    refreshIn: seconds(
      given.refresh_in ?? (refreshOn && Math.max(0, refreshOn - Date.now() / 1000)),
    ),
  };
};
