const millis = (number) => (Number.isNaN(number) ? undefined : number);

/** How something stands, as the module says it in numbers. */
export const healthOf = ([isConnected, isReady, connects, reauths, requests, refreshes, failures, rejections, age, left]) => ({
  isConnected: isConnected === 1,
  isReady: isReady === 1,
  connects,
  reauths,
  token: { requests, refreshes, failures, rejections, age: millis(age), expiresIn: millis(left) },
});
