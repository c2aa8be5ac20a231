/** How many letters differ, by the shortest way from one to the other. */
const distance = (from, to) => {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (const [above, letter] of [...from].entries()) {
    const next = [above + 1];
    for (let at = 1; at < row.length; at += 1) {
      const changed = row[at - 1] + (letter === to[at - 1] ? 0 : 1);
      next.push(Math.min(changed, row[at] + 1, next[at - 1] + 1));
    }
    row = next;
  }
  return row.at(-1);
};

/** Refuses options that nobody knows, and says which one may be meant. */
export const onlyKnown = (options, names, where = 'an option') => {
  for (const name of Object.keys(options)) {
    if (options[name] === undefined || names.includes(name)) continue;
    const far = (known) => distance(name.toLowerCase(), known.toLowerCase());
    const [nearest] = [...names].sort((one, other) => far(one) - far(other));
    throw new TypeError(`${name} is not ${where}: is ${nearest} meant?`);
  }
  return options;
};
