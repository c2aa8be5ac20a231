const millis = (number) => (Number.isNaN(number) ? undefined : number);

/** How something stands, as the module says it in numbers. */
export const healthOf = ([isConnected, connects, reauths, requests, refreshes, failures, rejections, age, left]) => ({
  isConnected: isConnected === 1,
  connects,
  reauths,
  token: { requests, refreshes, failures, rejections, age: millis(age), expiresIn: millis(left) },
});
